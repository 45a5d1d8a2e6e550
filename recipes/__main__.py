"""`python -m qsep.recipes` is the `qsep` command."""

from .cli import main

main()
