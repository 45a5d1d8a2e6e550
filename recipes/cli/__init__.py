"""The `qsep` command: one file per subcommand that is more than a few lines."""
