"""The one table of explanation methods. Reading it imports no Keras.

To add a method, write a function from a network, faces and classes to maps in a module of this
package, give it a row in `METHODS` and a line in docs/explain.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from ferplus_keras.errors import unknown

if TYPE_CHECKING:
    import numpy as np

    from ferplus_keras.explain.network import Network


@dataclass(frozen=True)
class Method:
    """A way to say which pixels made a network decide as it did.

    Attributes:
        name: its name on the command line.
        title: its name on a sheet.
        absolute: whether a map only tells how much a pixel matters, 0 or more; in the others, what
            is above 0 speaks for the class and what is below 0 against it.
        source: where it was published.
        function: "module:function" inside this package; imported when the method is used.
        needs_feature_map: whether the network must have a two-dimensional feature map.
    """

    name: str
    title: str
    absolute: bool
    source: str
    function: str
    needs_feature_map: bool = False

    def __call__(self, network: Network, faces: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Return maps (n, 48, 48) float32 of faces (n, 48, 48) uint8 for classes (n,) int.

        A face's map does not depend on the other faces nor on the batch size, and is the same in
        every run.
        """
        module, function = self.function.split(":")
        return getattr(import_module(f"ferplus_keras.explain.{module}"), function)(
            network, faces, classes
        )


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            name="saliency",
            title="saliency",
            absolute=True,
            source="Simonyan et al. 2013, arXiv 1312.6034",
            function="saliency:saliency",
        ),
        Method(
            name="smoothgrad",
            title="SmoothGrad",
            absolute=True,
            source="Smilkov et al. 2017, arXiv 1706.03825",
            function="saliency:smoothgrad",
        ),
        Method(
            name="integrated_gradients",
            title="integrated gradients",
            absolute=False,
            source="Sundararajan et al. 2017, arXiv 1703.01365",
            function="saliency:integrated_gradients",
        ),
        Method(
            name="grad_cam",
            title="Grad-CAM",
            absolute=False,
            source="Selvaraju et al. 2017, arXiv 1610.02391",
            function="grad_cam:grad_cam",
            needs_feature_map=True,
        ),
        Method(
            name="occlusion",
            title="occlusion",
            absolute=False,
            source="Zeiler & Fergus 2014, arXiv 1311.2901",
            function="occlusion:occlusion",
        ),
    )
}

ALL = "all"
"""Stands for every method."""


def find_methods(names: list[str]) -> list[Method]:
    """Return the methods of these names, in the table's order; `all` stands for every one.

    Raises:
        UsageError: there is no method of that name; the nearest spelling is named.
    """
    for name in names:
        if name not in (*METHODS, ALL):
            raise unknown("method", name, (*METHODS, ALL))
    return [method for method in METHODS.values() if ALL in names or method.name in names]
