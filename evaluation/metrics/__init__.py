"""Metrics, one value per item, in float64."""
