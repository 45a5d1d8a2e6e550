"""Heads: from a backbone's output to estimates of the sources, one file each."""
