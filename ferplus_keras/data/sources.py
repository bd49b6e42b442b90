"""Shim: moved to `registry` and `ferplus` of `ferplus_keras.data`."""

from ferplus_keras.data.ferplus import ferplus, ferplus_votes
from ferplus_keras.data.registry import FileRows

__all__ = ["FileRows", "ferplus", "ferplus_votes"]
