"""Checkpoints: `.keras` files, run by Keras on any backend."""

from pathlib import Path

from ferplus_keras.backend import choose_backend, load_keras
from ferplus_keras.formats import FORMATS, Format, Opened, one_at_a_time
from ferplus_keras.models.checkpoint import CheckpointInfo, load_checkpoint, read_info


@FORMATS.register("keras")
class Keras(Format):
    """Written by training (`save_checkpoint`)."""

    title = "a Keras checkpoint"
    suffixes = (".keras",)
    runs_in = "Keras"

    @staticmethod
    def open(path: Path) -> Opened:
        """Load the network by Keras."""
        choose_backend()
        load_keras()
        model, info = load_checkpoint(path)
        return Opened(info, one_at_a_time(model.predict_on_batch), model)

    @staticmethod
    def peek(path: Path) -> CheckpointInfo:
        """Read the archive's own member."""
        return read_info(path)
