"""Measurements of speed, memory and accuracy: `python -m qsep.recipes.benchmarks.NAME`."""
