"""Waveforms to what backbones work on, and back: one file an analysis."""
