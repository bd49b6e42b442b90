"""Explanation methods: `METHODS` is the one list. Reading it imports no Keras.

To add a method, write one function under `@method` in a module of this package, a line in
docs/explain.md, and a case in tests/explain.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from ferplus_keras.errors import InputError
from ferplus_keras.registry import Registry

if TYPE_CHECKING:
    import numpy as np

    from ferplus_keras.explain.scores import Scores


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
