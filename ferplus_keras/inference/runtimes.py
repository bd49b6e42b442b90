"""Run a trained network wherever it was saved to: one function and one row of `RUNTIMES` a format.

Every format takes raw faces, (n, 48, 48) uint8, and carries its class names, so that nothing has to
be known beside the file. Only the format's own runtime is imported.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.errors import InputError
from ferplus_keras.extras import require
from ferplus_keras.models.checkpoint import MEMBER, CheckpointInfo, info_from_json
from ferplus_keras.training.run_folder import MAX_ACCURACY

KEY = MEMBER.removesuffix(".json")
"""Name under which an exported file carries its `CheckpointInfo`."""


class Classifier(NamedTuple):
    """A network ready to run.

    Attributes:
        info: what the file knows of itself; `info.class_names` names the C outputs.
        probabilities: from faces (n, 48, 48) uint8 to (n, C) float32.
    """

    info: CheckpointInfo
    probabilities: Callable[[np.ndarray], np.ndarray]


def load_classifier(path: str | Path) -> Classifier:
    """Open a checkpoint (.keras) or an export (.onnx, .tflite, .xml, or a SavedModel's folder).

    A run folder means its best model.

    Raises:
        InputError: the file is missing, of another kind or without class names, or its runtime is
            not installed.
    """
    path = Path(path)
    if (path / MAX_ACCURACY).is_file():
        path = path / MAX_ACCURACY
    if not path.exists():
        raise InputError(f"no model at {path}")
    suffix = "" if path.is_dir() else path.suffix
    if suffix not in RUNTIMES:
        raise InputError(
            f"{path} is no model that can be run: expected {', '.join(filter(None, RUNTIMES))} or "
            "the folder of a SavedModel"
        )
    return RUNTIMES[suffix](path)


def dump_info(info: CheckpointInfo) -> str:
    """Return what an exported file carries, as JSON."""
    return json.dumps(dataclasses.asdict(info))


def _info(text: str | None, path: Path) -> CheckpointInfo:
    if not text:
        raise InputError(
            f"{path} does not say which classes its outputs are: it was not exported by "
            "python -m ferplus_keras export"
        )
    return info_from_json(text)


def _onnx(path: Path) -> Classifier:
    require(("onnxruntime",), f"running {path}")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its own kinds, all derived from Exception
        raise InputError(f"cannot read {path} as ONNX: {_line(error)}") from None
    info = _info(session.get_modelmeta().custom_metadata_map.get(KEY), path)
    name = session.get_inputs()[0].name
    return Classifier(info, lambda faces: session.run(None, {name: faces})[0])


def _litert(path: Path) -> Classifier:
    require(("ai_edge_litert",), f"running {path}")
    from ai_edge_litert.interpreter import Interpreter

    if path.read_bytes()[4:8] != b"TFL3":
        raise InputError(f"cannot read {path} as LiteRT: it is another kind of file, or damaged")
    try:
        with zipfile.ZipFile(path) as archive:
            info = _info(archive.read(MEMBER).decode(), path)
    except (zipfile.BadZipFile, KeyError):
        info = _info(None, path)
    try:
        runner = Interpreter(str(path)).get_signature_runner()
    except (ValueError, RuntimeError) as error:
        raise InputError(f"cannot read {path} as LiteRT: {_line(error)}") from None
    (given,) = runner.get_input_details()
    (answer,) = runner.get_output_details()
    return Classifier(info, lambda faces: runner(**{given: faces})[answer])


def _openvino(path: Path) -> Classifier:
    require(("openvino",), f"running {path}")
    import openvino

    try:
        model = openvino.Core().read_model(path)
    except RuntimeError as error:
        raise InputError(f"cannot read {path} as OpenVINO: {_line(error)}") from None
    info = _info(model.get_rt_info(KEY).astype(str) if model.has_rt_info(KEY) else None, path)
    # Left alone, it computes in bfloat16 where the processor can.
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return Classifier(info, lambda faces: compiled(faces)[0])


def _saved_model(path: Path) -> Classifier:
    if not (path / "saved_model.pb").is_file():
        raise InputError(f"{path} is a folder without saved_model.pb")
    require(("tensorflow",), f"running {path}")
    stated = path / MEMBER
    info = _info(stated.read_text(encoding="utf-8") if stated.is_file() else None, path)
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))  # its variables live as long as it does
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise InputError(f"cannot read {path} as a SavedModel: {_line(error)}") from None
    return Classifier(info, lambda faces: loaded.serve(faces).numpy())


def _keras(path: Path) -> Classifier:
    from ferplus_keras.backend import choose_backend, load_keras
    from ferplus_keras.models.checkpoint import load_checkpoint

    choose_backend()
    load_keras()
    model, info = load_checkpoint(path)
    return Classifier(info, lambda faces: np.asarray(model.predict_on_batch(faces)))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


RUNTIMES: dict[str, Callable[[Path], Classifier]] = {
    ".keras": _keras,
    ".onnx": _onnx,
    ".tflite": _litert,
    ".xml": _openvino,
    "": _saved_model,
}
"""Ending of the file (none: a folder) -> what opens it."""
