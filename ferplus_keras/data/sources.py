"""Shim: moved to `registry`, `ferplus`, `fer2013` and `folder` of `ferplus_keras.data`."""

from ferplus_keras.data.fer2013 import fer2013
from ferplus_keras.data.ferplus import ferplus, ferplus_votes
from ferplus_keras.data.folder import read_folder
from ferplus_keras.data.registry import FileRows

__all__ = ["FileRows", "fer2013", "ferplus", "ferplus_votes", "read_folder"]
