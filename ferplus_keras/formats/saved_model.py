"""TensorFlow's SavedModel: a folder, also for TensorFlow Serving."""

from __future__ import annotations

from pathlib import Path

from ferplus_keras.errors import InputError
from ferplus_keras.formats import FORMATS, Format, Opened, carried_info, dump_info
from ferplus_keras.models.checkpoint import MEMBER


@FORMATS.register("saved_model")
class SavedModel(Format):
    """What the file carries lies in the folder as `ferplus_keras.json`."""

    title = "a SavedModel"
    suffixes = ("",)
    runs_in = "TensorFlow, TensorFlow Serving"
    runtime = ("tensorflow",)
    precisions = ("float32",)

    @staticmethod
    def open(path: Path) -> Opened:
        """Load the function `serve`."""
        if not (path / "saved_model.pb").is_file():
            raise InputError(f"{path} is a folder without saved_model.pb")
        member = path / MEMBER
        info = carried_info(member.read_text("utf-8") if member.is_file() else None, path)
        import tensorflow as tf

        loaded = tf.saved_model.load(str(path))  # its variables live as long as it does
        return Opened(info, lambda faces: loaded.serve(faces).numpy())

    @staticmethod
    def write(model, info, path, precision, faces) -> None:
        """Write the folder by `keras.Model.export`."""
        model.export(path, format="tf_saved_model", verbose=False)
        (path / MEMBER).write_text(dump_info(info), encoding="utf-8")
