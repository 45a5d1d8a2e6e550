"""Ways to condition a backbone on a query, one file each."""
