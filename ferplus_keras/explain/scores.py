"""What the methods ask of any classifier: scores of faces."""

from __future__ import annotations

import re

import numpy as np

from ferplus_keras.classifier import Classifier
from ferplus_keras.run import MAX_ACCURACY


class Scores:
    """Any classifier; its scores are its probabilities, whatever the batch size.

    Attributes:
        class_names: the C classes.
        box: (first, end) of the rows and columns of a face that it looks at; here all of them.
        grey: grey level (0-255) that means little to it: the mean that it subtracts, else 128.
        feature_layer: name of the last layer with a map of more than 1x1 features, if any.
    """

    has_gradients = False
    feature_layer: str | None = None

    def __init__(self, classifier: Classifier, batch_size: int = 64) -> None:
        self.classifier = classifier
        self.batch_size = batch_size
        self.class_names = classifier.class_names
        self.box = (0, classifier.face_size)
        self.grey = 128.0

    @property
    def without_gradients(self) -> str:
        """Why there are no gradients, and the file that has them."""
        path = self.classifier.path
        if path is None or self.classifier.network:
            return "the network is not built as build_model builds it, so it has no known gradients"
        beside = [re.sub("_(float16|int8)$", "", path.stem) + ".keras", MAX_ACCURACY]
        found = [str(path.with_name(name)) for name in beside if path.with_name(name).is_file()]
        checkpoint = (*found, "the .keras file that it was exported from")[0]
        return f"{path} holds no Keras network; use {checkpoint}"

    def predict(self, faces: np.ndarray) -> np.ndarray:
        """Return (n, C) float32 probabilities of (n, s, s) uint8 faces."""
        return self.classifier.probabilities(faces, batch_size=self.batch_size)

    def scores(self, faces: np.ndarray) -> np.ndarray:
        """Return (n, C) float32 scores of faces (n, s, s), grey levels 0-255 of any dtype."""
        return self.predict(np.clip(np.rint(faces), 0, 255).astype(np.uint8))
