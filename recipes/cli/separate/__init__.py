"""`qsep separate` and `qsep auto`: the commands, and the meaning of their options."""
