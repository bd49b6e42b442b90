"""Shim: moved to `ferplus_keras.data.fer2013`."""

from ferplus_keras.data.fer2013 import read_fer2013

__all__ = ["read_fer2013"]
