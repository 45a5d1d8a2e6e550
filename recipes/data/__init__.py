"""Training data: preparation, corpora, mixtures and phrase books."""
