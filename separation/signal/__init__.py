"""Signal processing as pure functions."""
