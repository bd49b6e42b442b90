"""Evaluations side by side: which is better, and whether that could be chance."""
