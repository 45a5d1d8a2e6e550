"""The separators of the literature without their ends: one file a backbone."""
