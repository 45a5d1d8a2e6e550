"""Comparing runs: tables, plots, an HTML page, audio examples."""
