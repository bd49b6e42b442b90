"""`@vladmandic/human`: its emotion network, a graph of TensorFlow.js, at 64 pixels."""

import json
from pathlib import Path

import numpy as np

from benchmarks.peers.peer import Answer, Peer
from benchmarks.peers.runtimes import onnx_network
from ferplus_keras.emotions import FER2013_CLASSES

GRAPH = "models/emotion.json"
GREY = 0.2989 + 0.5870 + 0.1140
"""What the package's weights of red, green and blue make of a grey level of 1."""


def load(folder: Path) -> Answer:
    """Return the probabilities of the package's network."""
    from benchmarks.peers.tfjs import graph_model

    path = folder / GRAPH
    document = json.loads(path.read_text(encoding="utf-8"))
    factor, shift = np.array([2 * GREY / 255]), np.array([-1.0])
    content = graph_model(document, path.parent, lambda graph: graph.prepared(64, factor, shift))
    return onnx_network(content)


PEER = Peer(
    package="@vladmandic/human",
    version="3.3.6",
    module="",
    weights=(GRAPH, "models/emotion.bin"),
    licence="MIT",
    classes=FER2013_CLASSES,
    load=load,
)
