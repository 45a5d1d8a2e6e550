"""Training data: preparation, mixtures, wordings."""
