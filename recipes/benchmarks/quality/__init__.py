"""How well models separate, detect and classify."""
