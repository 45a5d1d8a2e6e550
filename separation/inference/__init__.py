"""Inference: chunks, streaming, constraints, best of n, progress."""
