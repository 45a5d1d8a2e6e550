"""What can be trained: one file for each part of a model."""
