"""Export a checkpoint for other runtimes, and prove on faces that it still answers alike."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.files import replacing, require_writable
from ferplus_keras.inference.runtimes import KEY, dump_info, load_classifier
from ferplus_keras.models.checkpoint import MEMBER, CheckpointInfo, load_checkpoint

if TYPE_CHECKING:
    import keras

PRECISIONS = ("float32", "float16", "int8")
"""What weights are stored as; int8 also computes so."""

TOLERANCE = {"float32": 1e-5, "float16": 0.02, "int8": 1.0}
"""Largest difference of a probability from the checkpoint's that an export may have; what int8
costs is told by its accuracy."""


class Exported(NamedTuple):
    """What became of an export.

    Attributes:
        path: the file or folder.
        size: bytes of it.
        faces: number of faces on which it was compared.
        difference: largest difference of a probability.
        agreement: share of faces with the same most probable class.
        accuracy: (checkpoint's, export's) where labels are known, else None.
    """

    path: Path
    size: int
    faces: int
    difference: float
    agreement: float
    accuracy: tuple[float, float] | None

    def __str__(self) -> str:
        text = (
            f"{self.path}: {self.size / 1e6:.2f} MB; on {self.faces} faces the largest difference "
            f"of a probability is {self.difference:.1e}, {self.agreement:.2%} keep their class"
        )
        if self.accuracy:
            before, after = self.accuracy
            text += f"; validation accuracy {before:.4f} -> {after:.4f} ({after - before:+.4f})"
        return text


def export(
    checkpoint: Path,
    target: Path,
    kind: str,
    precision: str,
    faces: np.ndarray,
    labels: np.ndarray | None = None,
) -> Exported:
    """Write a checkpoint in another format, run it there, and keep it if it answers alike.

    Args:
        checkpoint: .keras file, trained on whatever backend; read by TensorFlow here.
        target: file or folder to write, replaced whole.
        kind: row of `FORMATS`.
        precision: one of `PRECISIONS`.
        faces: (n, 48, 48) uint8 to compare on; int8 also measures its ranges on them.
        labels: (n,) int, index of the true class, where known.

    Raises:
        UsageError: an unknown format, or one without that precision.
        InputError: the checkpoint cannot be read, a package is missing, or the export answers
            differently; then nothing is left behind.
    """
    if precision not in FORMATS[kind].precisions:
        others = [name for name, row in FORMATS.items() if precision in row.precisions]
        raise UsageError(f"{kind} has no {precision} here; {', '.join(others)} has")
    require_writable(target.parent, "--output")
    model, info = load_checkpoint(checkpoint)
    expected = model.predict(faces, batch_size=64, verbose=0)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
        made = Path(folder) / target.name
        FORMATS[kind].write(model, info, made, precision, faces)
        found = np.concatenate(_answers(made, faces))
        difference = float(np.abs(found - expected).max())
        if not difference <= TOLERANCE[precision]:
            raise InputError(
                f"the exported {kind} model answers differently: probabilities differ by up to "
                f"{difference:.3g}, allowed is {TOLERANCE[precision]:g}; nothing was written"
            )
        for path in sorted(made.parent.iterdir()):
            _put(path, target.parent / path.name)
    classes = found.argmax(axis=1), expected.argmax(axis=1)
    return Exported(
        target,
        _size(target),
        len(faces),
        difference,
        float(np.mean(classes[0] == classes[1])),
        None
        if labels is None
        else (float(np.mean(classes[1] == labels)), float(np.mean(classes[0] == labels))),
    )


def _answers(path: Path, faces: np.ndarray, batch_size: int = 64) -> list[np.ndarray]:
    probabilities = load_classifier(path).probabilities
    return [probabilities(faces[i : i + batch_size]) for i in range(0, len(faces), batch_size)]


def _put(made: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    os.replace(made, target)


def _size(path: Path) -> int:
    if path.suffix == ".xml":  # its weights lie beside it
        return _size(path.with_suffix(".bin")) + path.stat().st_size
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _onnx(
    model: keras.Model, info: CheckpointInfo, path: Path, precision: str, faces: np.ndarray
) -> None:
    import onnx

    from ferplus_keras.inference.onnx_weights import quantize_to_int8, store_as_float16

    model.export(path, format="onnx", verbose=False)
    if precision == "int8":
        with replacing(path) as quantized:
            quantize_to_int8(path, quantized, faces)
    graph = onnx.load(path)
    if precision == "float16":
        store_as_float16(graph)
    _name_dimensions(graph)
    onnx.helper.set_model_props(graph, {KEY: dump_info(info)})
    onnx.save(graph, path)


def _name_dimensions(graph) -> None:
    """Call input and output what they are; the batch is of any size."""
    for tensors, name in ((graph.graph.input, "faces"), (graph.graph.output, "probabilities")):
        (tensor,) = tensors
        old = tensor.name
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
        for node in graph.graph.node:
            for names in (node.input, node.output):
                for index, value in enumerate(names):
                    if value == old:
                        names[index] = name
        tensor.name = name


def _saved_model(
    model: keras.Model, info: CheckpointInfo, path: Path, precision: str, faces: np.ndarray
) -> None:
    model.export(path, format="tf_saved_model", verbose=False)
    (path / MEMBER).write_text(dump_info(info), encoding="utf-8")


def _litert(
    model: keras.Model, info: CheckpointInfo, path: Path, precision: str, faces: np.ndarray
) -> None:
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if precision == "int8":
            converter.representative_dataset = lambda: ([face[None]] for face in faces[:500])
        path.write_bytes(converter.convert())
    with zipfile.ZipFile(path, "a") as archive:  # as LiteRT's own metadata: files behind the model
        archive.writestr(MEMBER, dump_info(info))


def _openvino(
    model: keras.Model, info: CheckpointInfo, path: Path, precision: str, faces: np.ndarray
) -> None:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False)
        converted = openvino.convert_model(folder)
    converted.set_rt_info(dump_info(info), KEY)
    openvino.save_model(converted, path, compress_to_fp16=precision == "float16")


class Format(NamedTuple):
    """A format that checkpoints are exported to.

    Attributes:
        suffix: ending of its file, "" for a folder.
        packages: what writing and running it needs beside TensorFlow.
        precisions: those of `PRECISIONS` it can be written in.
        write: (model, info, path, precision, faces) -> None.
    """

    suffix: str
    packages: tuple[str, ...]
    precisions: tuple[str, ...]
    write: Callable


FORMATS: dict[str, Format] = {
    "onnx": Format(".onnx", ("onnx", "tf2onnx", "onnxruntime"), PRECISIONS, _onnx),
    "saved_model": Format("", (), ("float32",), _saved_model),
    "litert": Format(".tflite", ("ai_edge_litert",), PRECISIONS, _litert),
    "openvino": Format(".xml", ("openvino",), ("float32", "float16"), _openvino),
}
"""Every export format by name."""
