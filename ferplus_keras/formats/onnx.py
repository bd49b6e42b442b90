"""ONNX: one `.onnx` file, run by ONNX Runtime; float16 stores, int8 computes in less."""

from __future__ import annotations

import os
import platform
import tempfile
import warnings
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from ferplus_keras.formats import FORMATS, KEY, Format, Opened
from ferplus_keras.lazy import onnx, onnxruntime
from ferplus_keras.models.info import info_from_json, info_to_json

MIN_VALUES = 64
"""Tensors with fewer values stay float32: shapes, means and the like."""

LAYERS = ("Conv", "MatMul", "Gemm")
"""Kinds of node that compute in int8."""


@FORMATS.register("onnx")
class Onnx(Format):
    """The information is a metadata property of the model."""

    title = "ONNX"
    suffixes = (".onnx",)
    runs_in = "ONNX Runtime"
    runtime = ("onnxruntime",)
    modules = ("onnx", "tf2onnx")
    precisions = ("float32", "float16", "int8")

    @staticmethod
    def open(path: Path) -> Opened:
        """Open a session, which serves any number of threads; a forked process opens its own."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Threads that wait actively take time from whatever else runs on a shared machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not _sums_int8_exactly():
            options.add_session_config_entry("session.disable_quant_qdq", "1")

        @cache  # a parent's session is kept: ending it would wait for threads that are not here
        def session(process: int) -> onnxruntime.InferenceSession:
            providers = ["CPUExecutionProvider"]
            return onnxruntime.InferenceSession(path.read_bytes(), options, providers=providers)

        opened = session(os.getpid())
        info = info_from_json(opened.get_modelmeta().custom_metadata_map.get(KEY), path)
        name = opened.get_inputs()[0].name
        return Opened(info, lambda faces: session(os.getpid()).run(None, {name: faces})[0])

    @staticmethod
    def write(model, info, path, precision, faces) -> None:
        """Convert by tf2onnx, then shrink the weights."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # Keras 3.15 asks NumPy for np.object
            model.export(path, format="onnx", verbose=False)
        graph = onnx.load(path)
        _spell_out_erfc(graph)
        _name_dimensions(graph)
        if precision == "int8":
            graph = _quantize_to_int8(graph, faces)
        if precision == "float16":
            _store_as_float16(graph)
        onnx.helper.set_model_props(graph, {KEY: info_to_json(info)})
        onnx.save(graph, path)


def _sums_int8_exactly() -> bool:
    """Return whether the processor adds products of 8-bit integers in 32 bits.

    Others add pairs in 16 bits, which overflow. There int8 files compute their rounded values in
    float32 instead: the same answers, at a third of the speed.
    """
    if platform.machine().lower() in ("arm64", "aarch64"):
        return True
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


def _spell_out_erfc(model: onnx.ModelProto) -> None:
    """Write TensorFlow's Erfc, which ONNX does not have, as 1 - Erf; GELU is computed with it."""
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
    """Name the input and the output, and let the batch be of any size."""
    graph = model.graph
    for (tensor,), name in ((graph.input, "faces"), (graph.output, "probabilities")):
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [name if old == tensor.name else old for old in names]
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
        tensor.name = name


def _store_as_float16(model: onnx.ModelProto) -> None:
    """Store the weights as float16 and let the graph make them float32 again, in place.

    The runtime does so once, when it loads the file: half the size at the same speed.
    """
    casts = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < MIN_VALUES:
            continue
        name, small = tensor.name, f"{tensor.name}_float16"
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), small))
        casts.append(onnx.helper.make_node("Cast", [small], [name], to=onnx.TensorProto.FLOAT))
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)


def _quantize_to_int8(model: onnx.ModelProto, faces: np.ndarray) -> onnx.ModelProto:
    """Return a copy whose convolutions and products with weights compute in int8.

    The last layer of each member stays float32: 8 bits of logits would make best classes equal.
    """
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name = model.graph.input[0].name
    batches = iter([{name: faces[i : i + 64]} for i in range(0, len(faces), 64)])
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/model.onnx"
        onnx.save(model, path)
        quant_pre_process(path, path, skip_symbolic_shape=True)
        graph = onnx.load(path).graph
        weights = {tensor.name for tensor in graph.initializer}
        layers = [node for node in graph.node if node.op_type in LAYERS]
        # Products of two activations stay float32: counting grey levels needs their precision.
        kept = [node.name for node in layers if weights.isdisjoint(node.input)]
        behind = {graph.output[0].name}  # what is computed after the last layers
        for node in reversed(graph.node):
            if behind.isdisjoint(node.output):
                continue
            if node.op_type in LAYERS and node.name not in kept:
                kept.append(node.name)
            else:
                behind.update(node.input)
        quantize_static(
            path,
            path,
            SimpleNamespace(get_next=lambda: next(batches, None)),
            op_types_to_quantize=list(LAYERS),
            nodes_to_exclude=kept,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(path)
