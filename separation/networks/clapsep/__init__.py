"""Networks of CLAPSep: HTSAT's layers, LoRA, and the mask decoder."""
