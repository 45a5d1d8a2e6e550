"""Separating many recordings: folders and lists, in shards, with a manifest for resuming."""
