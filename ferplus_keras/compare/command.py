"""Shim: moved to `ferplus_keras.evaluation.compare`."""

from ferplus_keras.evaluation.compare import add_arguments, compare

__all__ = ["add_arguments", "compare"]
