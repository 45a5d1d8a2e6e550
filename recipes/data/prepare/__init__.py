"""Preparing training data from public data sets and folders of videos."""
