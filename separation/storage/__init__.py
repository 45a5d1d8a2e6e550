"""What is written to disk: checkpoints and model cards, folders of results, temporary files."""
