"""Corpora of labelled recordings: making, checking, counting and packing them."""
