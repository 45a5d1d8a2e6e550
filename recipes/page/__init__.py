"""A page on which a model separates recordings in the visitor's browser, from any file server."""
