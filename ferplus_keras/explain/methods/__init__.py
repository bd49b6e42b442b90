"""Explanation methods, and what they ask of any classifier. Reading this imports no Keras.

To add a method, write one function under `@method` in a module of this package, a line in
docs/explain.md, and a case in tests/explain.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from ferplus_keras.classifier import Classifier
from ferplus_keras.errors import InputError
from ferplus_keras.registry import Registry
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


@dataclass(frozen=True)
class Method:
    """A way to show which pixels a network's decision rests on.

    Attributes:
        name: its name on the command line.
        title: its name in pictures.
        source: where it was published.
        function: from (network, faces (n, s, s) uint8, classes (n,) int) to maps (n, s, s) float32.
            A face's map depends neither on the other faces nor on the batch size, and is the same
            in every run.
        absolute: whether a map only tells how much a pixel matters, 0 or more. In the others, what
            is above 0 speaks for the class and what is below 0 against it.
        scores_suffice: whether it explains exports too; the others need gradients.
        needs_feature_map: whether the network must have a two-dimensional feature map.
    """

    name: str
    title: str
    source: str
    function: Callable[..., np.ndarray]
    absolute: bool = False
    scores_suffice: bool = False
    needs_feature_map: bool = False

    def refusal(self, network: Scores) -> str | None:
        """Return why the method cannot explain a network; None if it can."""
        if not (self.scores_suffice or network.has_gradients):
            return network.without_gradients
        if self.needs_feature_map and network.feature_layer is None:
            return "the network has no feature map larger than 1x1"
        return None

    def __call__(self, network: Scores, faces: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Return what `function` returns; raises InputError for a network it cannot explain."""
        if reason := self.refusal(network):
            raise InputError(f"{self.name}: {reason}; choose another --method")
        return self.function(network, faces, classes)


METHODS: Registry[Method] = Registry("method")
"""Every method by name."""


def method(title: str, source: str, **traits: bool) -> Callable[[Callable], Callable]:
    """Return a decorator that enters a function in `METHODS` under its own name."""

    def enter(function: Callable) -> Callable:
        METHODS[function.__name__] = Method(function.__name__, title, source, function, **traits)
        return function

    return enter


for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
