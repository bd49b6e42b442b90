"""`facex`: a LiteRT network on faces of 0 to 1, enlarged to 200 pixels by scikit-image."""

from pathlib import Path

from benchmarks.peers.peer import Answer, Peer
from benchmarks.peers.runtimes import lite_network

WEIGHTS = "assets/model_optimized.tflite"


def load(folder: Path) -> Answer:
    """Return the probabilities of the package's network."""
    from skimage.transform import resize

    return lite_network(folder / WEIGHTS, lambda face: resize(face, (200, 200, 3)))


PEER = Peer(
    package="facex",
    version="1.1.0",
    module="facex",
    weights=(WEIGHTS,),
    licence="MIT",
    classes=("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
    load=load,
)
