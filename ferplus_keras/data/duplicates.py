"""Shim: moved to `ferplus_keras.data.leaks`."""

from ferplus_keras.data.leaks import duplicate_groups

__all__ = ["duplicate_groups"]
