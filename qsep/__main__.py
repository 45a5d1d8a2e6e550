"""`python -m qsep` is the `qsep` command."""

from qsep.recipes.cli.main import main

main()
