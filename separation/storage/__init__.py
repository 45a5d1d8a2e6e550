"""Files that this package writes: temporary ones, and folders of results."""
