"""Shim: moved to `ferplus_keras.data.fer2013`."""

from ferplus_keras.data.fer2013 import Fer2013, read_fer2013

__all__ = ["Fer2013", "read_fer2013"]
