"""`qsep separate` and `qsep auto`: the commands, their options, and what the options say."""
