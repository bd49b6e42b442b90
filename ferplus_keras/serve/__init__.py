"""Serve a classifier: one REST interface and one page."""
