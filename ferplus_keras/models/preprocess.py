"""Shim: moved to `ferplus_keras.models.layers`."""

from ferplus_keras.models.layers import FacePreprocessing

__all__ = ["FacePreprocessing"]
