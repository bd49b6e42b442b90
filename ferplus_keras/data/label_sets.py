"""Shim: moved to `ferplus_keras.data.dataset` and `ferplus_keras.data.registry`."""

from ferplus_keras.data.dataset import DATASETS
from ferplus_keras.data.registry import LabelSet

__all__ = ["DATASETS", "LabelSet"]
