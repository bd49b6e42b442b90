"""Stands before the real TensorFlow on the path of processes that run on another backend."""

raise ImportError("TensorFlow is hidden from this process")
