"""Smaller ONNX files: weights as float16, or whole layers as int8."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

MIN_VALUES = 64
"""Tensors with fewer values stay as they are: shapes, means and the like."""

LAYERS = ("Conv", "MatMul", "Gemm")
"""Kinds of node that compute in int8."""


def store_as_float16(model: onnx.ModelProto) -> None:
    """Store the weights as float16 and let the graph make them float32 again, in place.

    The runtime does so once, when it loads the file: half the size at the same speed, and the only
    change is the rounding of the weights.
    """
    import onnx

    casts = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < MIN_VALUES:
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_float16"))
        casts.append(
            onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT)
        )
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)


def quantize_to_int8(source: Path, target: Path, faces: np.ndarray, batch_size: int = 64) -> None:
    """Write a copy whose convolutions and products with weights compute in int8.

    Products of two activations stay float32: counting grey levels needs their precision.

    Args:
        source: ONNX file in float32.
        target: file to write.
        faces: (n, 48, 48) uint8, on which the ranges of the activations are measured.
        batch_size: faces a step of the measurement.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name = onnx.load(source).graph.input[0].name

    class Faces(CalibrationDataReader):
        def __init__(self) -> None:
            steps = range(0, len(faces), batch_size)
            self.batches = iter(faces[i : i + batch_size] for i in steps)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {name: batch}

    prepared = target.with_suffix(".prepared.onnx")
    try:
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        weights = {tensor.name for tensor in graph.initializer}
        quantize_static(
            str(prepared),
            str(target),
            Faces(),
            op_types_to_quantize=list(LAYERS),
            nodes_to_exclude=[
                node.name
                for node in graph.node
                if node.op_type in LAYERS and weights.isdisjoint(node.input)
            ],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    finally:
        prepared.unlink(missing_ok=True)
