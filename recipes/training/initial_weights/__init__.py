"""Initial weights of a run: its own for resuming, or those of checkpoints."""
