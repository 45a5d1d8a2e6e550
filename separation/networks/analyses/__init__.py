"""Analyses: from waveforms to the features a backbone works on, and back; one file each."""
