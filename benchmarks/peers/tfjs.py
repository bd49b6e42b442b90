"""TensorFlow.js' weights and graphs, read with NumPy and written as ONNX."""

import base64
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ferplus_keras.errors import InputError

OPSET = 17


def read_weights(groups: Iterable[dict], folder: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a weights manifest.

    Args:
        groups: the manifest: dicts of `weights` (name, shape, dtype and, for tensors that are
            stored as small integers, `quantization` with dtype, scale and min) and `paths`.
        folder: where the paths begin.

    Returns:
        Name -> array; stored integers are brought back to float32.

    Raises:
        InputError: a group's files hold more or fewer bytes than its tensors.
    """
    found = {}
    for group in groups:
        content = b"".join((folder / path).read_bytes() for path in group["paths"])
        offset = 0
        for entry in group["weights"]:
            stored = entry.get("quantization", entry)
            count, dtype = math.prod(entry["shape"]), np.dtype(stored["dtype"]).newbyteorder("<")
            end = offset + count * dtype.itemsize
            if end > len(content):
                raise InputError(f"{folder / group['paths'][-1]} ends within {entry['name']}")
            values = np.frombuffer(content[offset:end], dtype).reshape(entry["shape"])
            if "scale" in stored:
                values = values * stored["scale"] + stored["min"]
            found[entry["name"]] = values.astype(entry["dtype"])
            offset = end
        if offset != len(content):
            over = len(content) - offset
            raise InputError(f"{folder / group['paths'][-1]} has {over} bytes behind its weights")
    return found


class Graph:
    """An ONNX graph in the making, from faces (n, 1, 48, 48) uint8; layers return their names.

    Filters are given in TensorFlow's order, (height, width, in, out); paddings are "SAME" or
    "VALID". Maps are (n, channels, height, width).
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.faces = "faces"

    def add(self, kind: str, *inputs: str | np.ndarray, **attributes: object) -> str:
        """Add a node, whose inputs are names or constants ("" for one left out)."""
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        name = f"node_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [name], **attributes))
        return name

    def _constant(self, value: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def prepared(self, size: int, factor: np.ndarray, shift: np.ndarray) -> str:
        """Return the faces enlarged to size x size pixels, times `factor` plus `shift`, (C,) each.

        Interpolates as TensorFlow's `resizeBilinear` with neither aligned corners nor half-pixel
        centres: pixel i of the result is at i * 48 / size.
        """
        resized = self.add(
            "Resize",
            self.add("Cast", self.faces, to=TensorProto.FLOAT),
            "",
            np.array([1, 1, size / 48, size / 48], np.float32),
            mode="linear",
            coordinate_transformation_mode="asymmetric",
        )
        columns = (np.asarray(v, np.float32).reshape(1, -1, 1, 1) for v in (factor, shift))
        return self.add("Add", self.add("Mul", resized, next(columns)), next(columns))

    def convolution(
        self, maps: str, filters: np.ndarray, bias: np.ndarray, stride: int, padding: str = "SAME"
    ) -> str:
        """Return a convolution of maps, filters (h, w, in, out), bias (out,)."""
        weights = filters.transpose(3, 2, 0, 1)
        return self.add("Conv", maps, weights, bias, **_window(padding, stride))

    def depthwise(self, maps: str, filters: np.ndarray, stride: int, padding: str = "SAME") -> str:
        """Return a convolution of each map alone, filters (h, w, channels, multiplier)."""
        height, width, channels, multiplier = filters.shape
        shape = (channels * multiplier, 1, height, width)
        weights = filters.transpose(2, 3, 0, 1).reshape(shape)
        return self.add("Conv", maps, weights, group=channels, **_window(padding, stride))

    def mean(self, maps: str) -> str:
        """Return the mean of each map, (n, channels)."""
        return self.add("Flatten", self.add("GlobalAveragePool", maps))

    def finish(self, probabilities: str) -> bytes:
        """Return the graph as the content of an ONNX file."""
        graph = helper.make_graph(
            self.nodes,
            "peer",
            [helper.make_tensor_value_info(self.faces, TensorProto.UINT8, ["n", 1, 48, 48])],
            [helper.make_tensor_value_info(probabilities, TensorProto.FLOAT, ["n", "classes"])],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = 8
        return model.SerializeToString()


def _window(padding: str, stride: int) -> dict:
    automatic = {"SAME": "SAME_UPPER", "VALID": "VALID"}[padding]
    return {"auto_pad": automatic, "strides": [stride, stride]}


def graph_model(document: dict, folder: Path, prepare: Callable[[Graph], str]) -> bytes:
    """Write TensorFlow.js' graph model as ONNX.

    Args:
        document: the content of its .json file.
        folder: of that file.
        prepare: adds to a graph what the network's input is made of the faces by.

    Raises:
        InputError: the model has an operation that is not known here.
    """
    weights = read_weights(document["weightsManifest"], folder)
    graph = Graph()
    found: dict[str, str] = {}
    for node in document["modelTopology"]["node"]:
        kind, name, attributes = node["op"], node["name"], node.get("attr", {})
        inputs = [found.get(of, of) for of in node.get("input", [])]
        if kind == "Const":
            continue
        if kind == "Placeholder":
            found[name] = prepare(graph)
        elif kind in ("_FusedConv2D", "DepthwiseConv2dNative"):
            filters = weights[inputs[1]]
            window = int(attributes["strides"]["list"]["i"][1]), _text(attributes["padding"]["s"])
            if kind == "DepthwiseConv2dNative":
                found[name] = graph.depthwise(inputs[0], filters, *window)
                continue
            found[name] = graph.convolution(inputs[0], filters, weights[inputs[2]], *window)
            fused = [_text(part) for part in attributes["fused_ops"]["list"]["s"]]
            if fused not in (["BiasAdd"], ["BiasAdd", "Relu"]):
                raise InputError(f"{name} is a convolution with {', '.join(fused)}: not known")
            if "Relu" in fused:
                found[name] = graph.add("Relu", found[name])
        elif kind == "MaxPool":
            window = _window(
                _text(attributes["padding"]["s"]), int(attributes["strides"]["list"]["i"][1])
            )
            size = [int(side) for side in attributes["ksize"]["list"]["i"][1:3]]
            found[name] = graph.add("MaxPool", inputs[0], kernel_shape=size, **window)
        elif kind == "Mean" and weights[inputs[1]].tolist() == [1, 2]:
            found[name] = graph.mean(inputs[0])
        elif kind in ("AddV2", "Relu", "Softmax", "Identity"):
            found[name] = graph.add(kind.removesuffix("V2"), *inputs)
        else:
            raise InputError(f"{name} is a {kind}, which is not known")
    return graph.finish(graph.nodes[-1].output[0])


def _text(value: str) -> str:
    return base64.b64decode(value).decode()
