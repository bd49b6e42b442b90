"""Explanations of faces, and the file that keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ferplus_keras.explain.faces import Faces
from ferplus_keras.explain.methods import Method
from ferplus_keras.files import replacing
from ferplus_keras.progress import progress_bar

if TYPE_CHECKING:
    from ferplus_keras.explain.network import Network


class Explanations(NamedTuple):
    """Maps of some faces by some methods.

    Attributes:
        faces: what was explained.
        class_names: the C classes.
        probabilities: (n, C) float32, the network's answers.
        classes: (n,) int64, the class that each face's maps are about.
        methods: the m methods.
        maps: (n, m, 48, 48) float32, each in its method's own units.
    """

    faces: Faces
    class_names: tuple[str, ...]
    probabilities: np.ndarray
    classes: np.ndarray
    methods: tuple[Method, ...]
    maps: np.ndarray


def explain_faces(
    network: Network, faces: Faces, methods: Sequence[Method], class_name: str | None = None
) -> Explanations:
    """Explain faces by every method.

    Args:
        network: the classifier.
        faces: one or more faces.
        methods: rows of `METHODS`.
        class_name: class to explain; None takes each face's most probable one.
    """
    probabilities = network.predict(faces.images)
    classes = probabilities.argmax(axis=1)
    if class_name is not None:
        classes[:] = network.class_names.index(class_name)
    parts = []
    with progress_bar(total=len(classes), unit=" faces") as bar:
        for begin in range(0, len(classes), network.batch_size):
            some = slice(begin, begin + network.batch_size)
            batch, of_batch = faces.images[some], classes[some]
            parts.append(np.stack([m(network, batch, of_batch) for m in methods], axis=1))
            bar.update(len(batch))
    return Explanations(
        faces,
        network.class_names,
        probabilities,
        classes,
        tuple(methods),
        np.concatenate(parts).astype(np.float32),
    )


def write_explanations(found: Explanations, path: Path) -> None:
    """Write explanations as an .npz file, whole or not at all.

    Its arrays: `maps` (n, m, 48, 48) float32, `methods` (m,), `names` (n,), `labels` (n,; empty
    where unknown), `explained` (n,) names of classes, `probabilities` (n, C) float32,
    `class_names` (C,).
    """
    with replacing(path) as temporary:
        np.savez_compressed(
            temporary,
            maps=found.maps,
            methods=[method.name for method in found.methods],
            names=found.faces.names,
            labels=[label or "" for label in found.faces.labels],
            explained=[found.class_names[index] for index in found.classes],
            probabilities=found.probabilities,
            class_names=found.class_names,
        )
