"""Separators, one file each: a file's name is the separator's name in a configuration."""
