"""Converters of released checkpoints, one file a system."""
