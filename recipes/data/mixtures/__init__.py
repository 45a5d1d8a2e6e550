"""Data sets of training mixtures."""
