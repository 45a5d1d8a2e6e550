"""Separating many recordings: folders and lists, in parts, with a manifest from which a run continues."""
