"""`what-the-face-classification`: a PyTorch network on grey levels of 0 to 1."""

from pathlib import Path

from benchmarks.peers.peer import Answer, Peer
from benchmarks.peers.runtimes import module_of, torch_network, torch_weights
from ferplus_keras.emotions import FER2013_CLASSES

WEIGHTS = "active_model.pth"


def load(folder: Path) -> Answer:
    """Return the probabilities of the package's network."""
    sizes = [[1, 28], [28, 56], [56, 112]]
    make = module_of(folder / "model.py").SimpleConvolutionalNetwork
    network = make(3, sizes, [3] * 3, [0] * 3, 304, 4 * 4 * 112)
    return torch_network(network, torch_weights(folder / WEIGHTS), lambda images: images)


PEER = Peer(
    package="what-the-face-classification",
    version="0.0.27",
    module="what_the_face_classification",
    weights=(WEIGHTS,),
    licence="MIT",
    classes=FER2013_CLASSES,
    load=load,
)
