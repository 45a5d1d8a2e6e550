"""`qsep models`: list, describe, fetch, remove, convert and publish models."""
