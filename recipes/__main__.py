"""`python -m qsep.recipes` is the `qsep` command."""

from .cli.main import main

main()
