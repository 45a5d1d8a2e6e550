"""Measurements: `python -m qsep.recipes.benchmarks.quality.NAME` and `.costs.NAME`."""
