"""Layers of Hybrid Transformer Demucs."""
