"""TensorFlow's SavedModel, a folder, and OpenVINO's files, which are made from one."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from ferplus_keras.formats import FORMATS, KEY, Format, Opened, one_at_a_time
from ferplus_keras.lazy import tf
from ferplus_keras.models.info import MEMBER, info_from_json, info_to_json

_HALF = f"{KEY}_precision"  # marks files that may compute in bfloat16


def _openvino() -> Any:
    """Import OpenVINO; without `openvino_telemetry` it does not report that to its maker."""
    sys.modules.setdefault("openvino_telemetry", None)
    import openvino

    return openvino


@FORMATS.register("openvino")
class OpenVINO(Format):
    """The information is runtime information of the model."""

    title = "OpenVINO"
    suffixes = (".xml",)
    beside = (".bin",)
    runs_in = "OpenVINO (Intel)"
    runtime = ("openvino",)
    precisions = ("float32", "float16", "bfloat16")

    @staticmethod
    def open(path: Path) -> Opened:
        """Compile for the processor; the one request of a compiled model serves one thread."""
        openvino = _openvino()
        model = openvino.Core().read_model(path)
        text = model.get_rt_info(KEY).astype(str) if model.has_rt_info(KEY) else None
        info = info_from_json(text, path)
        # Left alone, it computes in bfloat16 where the processor can.
        precision = {} if model.has_rt_info(_HALF) else {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.compile_model(model, "CPU", precision)
        return Opened(info, one_at_a_time(lambda faces: compiled(faces)[0]))

    @staticmethod
    def write(model, info, path, precision, faces) -> None:
        """Convert a SavedModel by OpenVINO."""
        openvino = _openvino()
        with tempfile.TemporaryDirectory() as folder:
            model.export(folder, format="tf_saved_model", verbose=False)
            converted = openvino.Core().read_model(folder)
        converted.set_rt_info(info_to_json(info), KEY)
        if precision == "bfloat16":
            converted.set_rt_info(precision, _HALF)
        openvino.save_model(converted, path, compress_to_fp16=precision != "float32")


@FORMATS.register("saved_model")
class SavedModel(Format):
    """The information is in the folder, as `ferplus_keras.json`."""

    title = "a SavedModel"
    suffixes = ("",)
    runs_in = "TensorFlow, TensorFlow Serving"
    runtime = ("tensorflow",)
    precisions = ("float32",)

    @staticmethod
    def open(path: Path) -> Opened:
        """Load the function `serve`."""
        member = path / MEMBER
        info = info_from_json(member.read_text("utf-8") if member.is_file() else None, path)
        loaded = tf.saved_model.load(str(path))  # its variables live as long as it does
        return Opened(info, lambda faces: loaded.serve(faces).numpy())

    @staticmethod
    def write(model, info, path, precision, faces) -> None:
        """Write the folder by `keras.Model.export`."""
        model.export(path, format="tf_saved_model", verbose=False)
        (path / MEMBER).write_text(info_to_json(info), encoding="utf-8")
