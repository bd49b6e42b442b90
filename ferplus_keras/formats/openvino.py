"""OpenVINO, for Intel's processors: an `.xml` file with its weights in a `.bin` file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ferplus_keras import formats
from ferplus_keras.formats import FORMATS, KEY, Format, Opened


@FORMATS.register("openvino")
class OpenVINO(Format):
    """What the file carries is runtime information of the model."""

    title = "OpenVINO"
    suffixes = (".xml",)
    beside = (".bin",)
    runs_in = "OpenVINO (Intel)"
    runtime = ("openvino",)
    precisions = ("float32", "float16")

    @staticmethod
    def open(path: Path) -> Opened:
        """Compile for the processor; the one request of a compiled model serves one thread."""
        import openvino

        model = openvino.Core().read_model(path)
        text = model.get_rt_info(KEY).astype(str) if model.has_rt_info(KEY) else None
        info = formats.carried_info(text, path)
        # Left alone, it computes in bfloat16 where the processor can.
        compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return Opened(info, formats.one_at_a_time(lambda faces: compiled(faces)[0]))

    @staticmethod
    def write(model, info, path, precision, faces) -> None:
        """Convert a SavedModel by OpenVINO."""
        import openvino

        with tempfile.TemporaryDirectory() as folder:
            model.export(folder, format="tf_saved_model", verbose=False)
            converted = openvino.Core().read_model(folder)
        converted.set_rt_info(formats.dump_info(info), KEY)
        openvino.save_model(converted, path, compress_to_fp16=precision == "float16")
