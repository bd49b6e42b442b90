"""LiteRT, formerly TensorFlow Lite: one `.tflite` file for phones and boards."""

import tempfile
import zipfile
from pathlib import Path

from ferplus_keras.formats import FORMATS, Format, Opened, one_at_a_time
from ferplus_keras.lazy import tf
from ferplus_keras.models.info import append_info, info_from_json, info_from_zip


@FORMATS.register("litert")
class LiteRT(Format):
    """The information is in a zip archive behind the model, as LiteRT's own metadata are."""

    title = "LiteRT"
    suffixes = (".tflite",)
    runs_in = "LiteRT (phones, boards)"
    runtime = ("ai_edge_litert",)
    precisions = ("float32", "float16", "int8")

    @staticmethod
    def open(path: Path) -> Opened:
        """Open an interpreter, which serves one thread at a time."""
        from ai_edge_litert.interpreter import Interpreter

        if path.read_bytes()[4:8] != b"TFL3":
            raise ValueError("it is another kind of file, or damaged")
        has_archive = zipfile.is_zipfile(path)
        info = info_from_zip(path, "LiteRT") if has_archive else info_from_json(None, path)
        runner = Interpreter(str(path)).get_signature_runner()
        (given,) = runner.get_input_details()
        (answer,) = runner.get_output_details()
        return Opened(info, one_at_a_time(lambda faces: runner(**{given: faces})[answer]))

    @staticmethod
    def write(model, info, path, precision, faces) -> None:
        """Convert a SavedModel by TensorFlow."""
        with tempfile.TemporaryDirectory() as folder:
            model.export(folder, format="tf_saved_model", verbose=False)
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            if precision != "float32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if precision == "float16":
                converter.target_spec.supported_types = [tf.float16]
            if precision == "int8":
                converter.representative_dataset = lambda: ([face[None]] for face in faces)
            path.write_bytes(converter.convert())
        append_info(info, path)
