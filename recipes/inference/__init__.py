"""What `qsep separate` and `qsep auto` do with files."""
