"""The models of this package, which take faces as they are."""

from benchmarks.peers.peer import Peer
from ferplus_keras.classifier import Classifier
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.inference.predictor import BUNDLED


def model(name: str) -> Peer:
    """Return the peer of a model that comes with this package."""
    return Peer(
        package="ferplus-keras",
        version="0.1.0",
        module="ferplus_keras.inference",
        weights=(name,),
        licence="Apache-2.0",
        classes=FERPLUS_CLASSES,
        load=lambda folder: Classifier.open(folder / name).arranged(FERPLUS_CLASSES).probabilities,
    )


PEER, LARGER = model(BUNDLED.name), model("dlib_resnet.onnx")
