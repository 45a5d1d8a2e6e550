"""Checkpoints as other people released them, made ours: one converter a system."""
