"""Shim: moved to `ferplus_keras.data.ferplus`."""

from ferplus_keras.data.ferplus import Votes, read_votes

__all__ = ["Votes", "read_votes"]
