"""The formats that networks are exported to: one function and one row of `FORMATS` each."""

from __future__ import annotations

import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ferplus_keras.errors import unknown
from ferplus_keras.files import replacing
from ferplus_keras.inference.runtimes import KEY, dump_info
from ferplus_keras.models.checkpoint import MEMBER, CheckpointInfo

if TYPE_CHECKING:
    import keras
    import onnx

PRECISIONS = ("float32", "float16", "int8")
"""What weights are stored as; int8 also computes so."""


def _onnx(
    model: keras.Model, info: CheckpointInfo, path: Path, precision: str, faces: np.ndarray | None
) -> None:
    import onnx

    from ferplus_keras.inference.onnx_weights import quantize_to_int8, store_as_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Keras 3.15 asks NumPy for np.object
        model.export(path, format="onnx", verbose=False)
    graph = onnx.load(path)
    _spell_out_erfc(graph)
    _name_dimensions(graph)
    if precision == "int8":
        onnx.save(graph, path)
        with replacing(path) as quantized:
            quantize_to_int8(path, quantized, faces)
        graph = onnx.load(path)
    if precision == "float16":
        store_as_float16(graph)
    onnx.helper.set_model_props(graph, {KEY: dump_info(info)})
    onnx.save(graph, path)


def _spell_out_erfc(model: onnx.ModelProto) -> None:
    """Write TensorFlow's Erfc, which ONNX does not have, as 1 - Erf; GELU is computed with it."""
    import onnx

    nodes = model.graph.node
    for index in reversed(range(len(nodes))):
        node = nodes[index]
        if node.op_type == "Erfc":
            one, erf = f"{node.name}_one", f"{node.name}_erf"
            value = onnx.numpy_helper.from_array(np.array(1, np.float32), one)
            model.graph.initializer.append(value)
            nodes.insert(index + 1, onnx.helper.make_node("Sub", [one, erf], node.output))
            node.op_type, node.output[0] = "Erf", erf


def _name_dimensions(model: onnx.ModelProto) -> None:
    """Call input and output what they are; the batch is of any size."""
    for tensors, name in ((model.graph.input, "faces"), (model.graph.output, "probabilities")):
        (tensor,) = tensors
        old = tensor.name
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
        for node in model.graph.node:
            for names in (node.input, node.output):
                for index, value in enumerate(names):
                    if value == old:
                        names[index] = name
        tensor.name = name


def _saved_model(
    model: keras.Model, info: CheckpointInfo, path: Path, precision: str, faces: np.ndarray | None
) -> None:
    model.export(path, format="tf_saved_model", verbose=False)
    (path / MEMBER).write_text(dump_info(info), encoding="utf-8")


def _litert(
    model: keras.Model, info: CheckpointInfo, path: Path, precision: str, faces: np.ndarray | None
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
            converter.representative_dataset = lambda: ([face[None]] for face in faces)
        path.write_bytes(converter.convert())
    with zipfile.ZipFile(path, "a") as archive:  # as LiteRT's own metadata: files behind the model
        archive.writestr(MEMBER, dump_info(info))


def _openvino(
    model: keras.Model, info: CheckpointInfo, path: Path, precision: str, faces: np.ndarray | None
) -> None:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False)
        converted = openvino.Core().read_model(folder)
    converted.set_rt_info(dump_info(info), KEY)
    openvino.save_model(converted, path, compress_to_fp16=precision == "float16")


class Format(NamedTuple):
    """A format that checkpoints are exported to.

    Attributes:
        description: what runs it.
        suffix: ending of its file, "" for a folder.
        beside: endings of the files that belong to it and lie beside it.
        modules: what writing and running it needs beside TensorFlow.
        precisions: those of `PRECISIONS` it can be written in.
        write: from (model, info, path, precision, faces) to the file; faces, (n, 48, 48) uint8,
            are those on which int8 measures its ranges, None for another precision.
    """

    description: str
    suffix: str
    beside: tuple[str, ...]
    modules: tuple[str, ...]
    precisions: tuple[str, ...]
    write: Callable


FORMATS: dict[str, Format] = {
    "onnx": Format(
        "ONNX Runtime", ".onnx", (), ("onnx", "tf2onnx", "onnxruntime"), PRECISIONS, _onnx
    ),
    "saved_model": Format("TensorFlow, TensorFlow Serving", "", (), (), ("float32",), _saved_model),
    "litert": Format(
        "LiteRT (phones, boards)", ".tflite", (), ("ai_edge_litert",), PRECISIONS, _litert
    ),
    "openvino": Format(
        "OpenVINO (Intel)", ".xml", (".bin",), ("openvino",), ("float32", "float16"), _openvino
    ),
}
"""Every export format by name."""


def find_format(name: str) -> Format:
    """Return a row of `FORMATS`.

    Raises:
        UsageError: there is no such format.
    """
    if name not in FORMATS:
        raise unknown("format", name, FORMATS)
    return FORMATS[name]
