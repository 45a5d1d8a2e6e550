"""How a query gets into a backbone: one file a way."""
