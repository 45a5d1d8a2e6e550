"""Networks of CLAPSep: HTS-AT, LoRA, and the mask decoder."""
