"""Shim: moved to `tests.exports`."""

from tests.exports import INFO, drawn, write_checkpoint

__all__ = ["INFO", "drawn", "write_checkpoint"]
