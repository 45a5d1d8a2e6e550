"""Checkpoints that others released: registry, download, conversion, and the Hugging Face hub."""
