"""Captions as training data: splitting them into the sounds that they name, and captioned mixtures."""
