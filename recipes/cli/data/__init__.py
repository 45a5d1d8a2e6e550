"""`qsep data`: prepare, check and pack training data."""
