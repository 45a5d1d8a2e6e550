"""Training objectives: losses with one value per item."""
