"""Searches over the settings of train.py, one process per trial."""
