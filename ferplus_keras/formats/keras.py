"""What Keras runs on any backend: checkpoints, and whole models of the older project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ferplus_keras.backend import choose_backend, load_keras
from ferplus_keras.formats import FORMATS, Format, Opened, Predict, one_at_a_time
from ferplus_keras.models.checkpoint import CheckpointInfo, load_checkpoint, read_info

if TYPE_CHECKING:
    import keras


@FORMATS.register("hdf5")
class Hdf5(Format):
    """Read only. The file does not name its classes: `info.class_names` is empty."""

    title = "a model of the older project"
    suffixes = (".hdf5", ".h5")
    runs_in = "Keras"
    hints = ("model_name", "image_size")

    @staticmethod
    def open(path: Path, model_name: str | None = None, image_size: int | None = None) -> Opened:
        """Build the network that the file's layers tell, or `model_name`, with its weights."""
        choose_backend()
        load_keras()
        from ferplus_keras.models.legacy import load_full_model

        model, name = load_full_model(path, model_name, image_size)
        size = model.get_layer("preprocessing").image_size
        info = CheckpointInfo(name, size, (), "unknown", "unknown", "majority")
        return Opened(info, _run(model), model)


@FORMATS.register("keras")
class Keras(Format):
    """Written by training (`save_checkpoint`)."""

    title = "a Keras checkpoint"
    suffixes = (".keras",)
    runs_in = "Keras"
    peek = staticmethod(read_info)

    @staticmethod
    def open(path: Path) -> Opened:
        """Load the network by Keras."""
        choose_backend()
        load_keras()
        model, info = load_checkpoint(path)
        return Opened(info, _run(model), model)


def _run(model: keras.Model) -> Predict:
    """Return what predicts, on all devices of the scope in which the model is opened.

    On one device, it does by a copy of the network in the backend's own layout.
    """
    from keras.distribution import distribution

    from ferplus_keras.models.layout import converted

    devices = distribution()
    predict = devices.predictor(model) if devices else converted(model).predict_on_batch
    return one_at_a_time(predict)
