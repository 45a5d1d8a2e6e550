"""What becomes of a backbone's output: one file a kind of estimate."""
