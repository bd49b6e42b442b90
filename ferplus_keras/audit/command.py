"""Shim: moved to `ferplus_keras.evaluation.audit`."""

from ferplus_keras.evaluation.audit import add_arguments, audit

__all__ = ["add_arguments", "audit"]
