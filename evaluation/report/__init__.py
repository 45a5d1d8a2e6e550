"""Reports that compare runs: tables, plots, an HTML page, audio examples."""
