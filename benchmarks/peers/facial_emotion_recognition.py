"""`facial-emotion-recognition`: a PyTorch network on grey levels of -1 to 1.

Its outputs are sigmoids, whose exponentials the package compares; divided by their sum they are
probabilities.
"""

from pathlib import Path

from benchmarks.peers.peer import Answer, Peer
from benchmarks.peers.runtimes import module_of, torch_network, torch_weights
from ferplus_keras.emotions import FER2013_CLASSES

WEIGHTS = "model/model.pkl"


def load(folder: Path) -> Answer:
    """Return the probabilities of the package's network."""
    network = module_of(folder / "networks.py").NetworkV2(in_c=1, nl=32, out_f=7)
    weights = torch_weights(folder / WEIGHTS)["network"]
    return torch_network(network, weights, lambda images: 2 * images - 1)


PEER = Peer(
    package="facial-emotion-recognition",
    version="0.3.4",
    module="facial_emotion_recognition",
    weights=(WEIGHTS,),
    licence="MIT",
    classes=FER2013_CLASSES,
    load=load,
)
