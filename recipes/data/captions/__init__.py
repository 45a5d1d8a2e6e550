"""Captions as training material: the sounds that they name, and scenes made from them."""
