"""Corpora of labelled recordings: made from one's own, checked, counted, packed."""
