"""Separating recordings of any length: chunks, constraints, candidates, progress."""
