"""Separation of files, for `qsep separate` and `qsep auto`."""
