"""Shim: moved to `ferplus_keras.formats`."""

from ferplus_keras.formats import FORMATS, PRECISIONS

__all__ = ["FORMATS", "PRECISIONS"]
