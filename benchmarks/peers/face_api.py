"""`@vladmandic/face-api`: its expression network, whose weights are stored as 8-bit integers.

Four blocks of depthwise separable convolutions on colour faces of 112 pixels. The npm package of
`face-api.js`, of which this is a fork, has no weights in it.
"""

import json
from pathlib import Path

import numpy as np

from benchmarks.peers.peer import Answer, Peer
from benchmarks.peers.runtimes import onnx_network

MANIFEST = "model/face_expression_model-weights_manifest.json"
MEAN = np.array([122.782, 117.001, 104.298])
"""Of red, green and blue."""


def load(folder: Path) -> Answer:
    """Return the probabilities of the package's network."""
    from benchmarks.peers.tfjs import Graph, read_weights

    manifest = folder / MANIFEST
    groups = json.loads(manifest.read_text(encoding="utf-8"))
    weights = read_weights(groups, manifest.parent)
    graph = Graph()
    maps = graph.prepared(112, np.full(3, 1 / 255), -MEAN / 255)
    for block in range(4):
        maps = _dense_block(graph, maps, weights, f"dense{block}")
    scores = graph.add("Gemm", graph.mean(maps), weights["fc/weights"], weights["fc/bias"])
    return onnx_network(graph.finish(graph.add("Softmax", scores, axis=1)))


def _dense_block(graph, maps: str, weights: dict[str, np.ndarray], name: str) -> str:
    """Add four convolutions; each takes the sum of those before it, and the sum of all goes on."""
    total = ""
    for number in range(4):
        layer, stride = f"{name}/conv{number}", 1 if number else 2
        if f"{layer}/filters" in weights:
            filters, bias = weights[f"{layer}/filters"], weights[f"{layer}/bias"]
            maps = graph.convolution(maps, filters, bias, stride)
        else:
            maps = graph.depthwise(maps, weights[f"{layer}/depthwise_filter"], stride)
            pointwise, bias = weights[f"{layer}/pointwise_filter"], weights[f"{layer}/bias"]
            maps = graph.convolution(maps, pointwise, bias, 1)
        # The first output enters the sums after its ReLU, the others before theirs.
        total = graph.add("Add", total, maps) if number else graph.add("Relu", maps)
        maps = graph.add("Relu", total)
    return maps


PEER = Peer(
    package="@vladmandic/face-api",
    version="1.7.15",
    module="",
    weights=(MANIFEST, "model/face_expression_model.bin"),
    licence="MIT",
    classes=("neutral", "happiness", "sadness", "anger", "fear", "disgust", "surprise"),
    load=load,
)
