"""Shim: moved to `ferplus_keras.run`."""

from ferplus_keras.run import PREDICTIONS, REPORT

__all__ = ["PREDICTIONS", "REPORT"]
