"""Shim: moved to `ferplus_keras.data.augment`."""

from ferplus_keras.data.augment import VIEWS

__all__ = ["VIEWS"]
