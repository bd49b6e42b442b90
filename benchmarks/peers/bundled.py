"""The model of this package, which takes faces as they are."""

from pathlib import Path

from benchmarks.peers.peer import Answer, Peer
from ferplus_keras.classifier import Classifier
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.inference.predictor import BUNDLED


def load(folder: Path) -> Answer:
    """Return the bundled model's probabilities."""
    return Classifier.open(folder / BUNDLED.name).arranged(FERPLUS_CLASSES).probabilities


PEER = Peer(
    package="ferplus-keras",
    version="0.1.0",
    module="ferplus_keras.inference",
    weights=(BUNDLED.name,),
    licence="Apache-2.0",
    classes=FERPLUS_CLASSES,
    load=load,
)
