"""Shim: moved to `ferplus_keras.data.pictures`."""

from ferplus_keras.data.pictures import MOST_PIXELS, SUFFIXES, as_face, read_face, read_picture

__all__ = ["MOST_PIXELS", "SUFFIXES", "as_face", "read_face", "read_picture"]
