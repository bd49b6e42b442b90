"""Whole models of the older project: `.hdf5` files, whose network is rebuilt."""

from pathlib import Path

from ferplus_keras.backend import choose_backend, load_keras
from ferplus_keras.formats import FORMATS, Format, Opened, one_at_a_time
from ferplus_keras.models.checkpoint import CheckpointInfo


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
        from ferplus_keras.models.registry import load_full_model

        model, name = load_full_model(path, model_name, image_size)
        size = model.get_layer("preprocessing").image_size
        info = CheckpointInfo(name, size, (), "unknown", "unknown", "majority")
        return Opened(info, one_at_a_time(model.predict_on_batch), model)
