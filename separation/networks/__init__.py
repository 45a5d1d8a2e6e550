"""Parts that several separators are built from."""
