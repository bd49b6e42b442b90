"""Why a model answers as it does about one face, as a picture."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ferplus_keras.classifier import Classifier
from ferplus_keras.explain.methods import METHODS

WITHOUT_GRADIENTS = ("occlusion",)
"""Methods that ask a model for probabilities only, and so explain exports too."""

LEAST = 1e-7
"""Smallest probability whose logarithm is taken."""


def methods(classifier: Classifier) -> list[str]:
    """Return the names of the explanation methods that work with a classifier."""
    return [name for name in METHODS if classifier.network or name in WITHOUT_GRADIENTS]


def explained(classifier: Classifier, face: np.ndarray, class_name: str, method: str) -> np.ndarray:
    """Return a face (s, s) uint8 under its map, (s, s, 3) uint8 RGB.

    Red speaks for the class, blue against it.
    """
    from ferplus_keras.explain.sheets import overlay

    classes = np.array([classifier.class_names.index(class_name)])
    values = METHODS[method](_network(classifier), face[None], classes)[0]
    return np.rint(255 * overlay(face, values)).astype(np.uint8)


@lru_cache(maxsize=16)
def _network(classifier: Classifier) -> Any:
    if classifier.network is None:
        return _OnlyProbabilities(classifier)
    from ferplus_keras.explain.network import Network

    return Network(classifier.network, classifier.class_names)


class _OnlyProbabilities:
    """An exported model in place of `explain.network.Network`, for methods without gradients.

    Logarithms of probabilities take the place of logits, and the middle grey covers.
    """

    batch_size = 64
    grey = 128.0

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        size = 48
        self.box = (0, size, 0, size)

    def logits(self, faces: np.ndarray) -> np.ndarray:
        """Return (n, C) float32 log-probabilities of faces (n, s, s), grey levels 0-255."""
        rounded = np.clip(np.rint(faces), 0, 255).astype(np.uint8)
        return np.log(np.maximum(self._classifier.probabilities(rounded), LEAST))
