"""U-Nets over spectrograms."""
