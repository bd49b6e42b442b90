"""What a network looks at in each class: mean maps over a whole split."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ferplus_keras.data.dataset import Split
from ferplus_keras.explain.methods import Method
from ferplus_keras.files import replacing
from ferplus_keras.progress import progress_bar

if TYPE_CHECKING:
    from ferplus_keras.explain.network import Network


class ClassMeans(NamedTuple):
    """Mean faces and maps of each true class.

    Attributes:
        class_names: the C classes.
        methods: the m methods.
        counts: (2, C) int64, faces of the class: all of them, and those recognised correctly.
        faces: (C, 48, 48) float32, the mean face in grey levels 0-255; NaN for an empty class.
        maps: (2, C, m, 48, 48) float32, mean maps of all and of the recognised; NaN where none.
        seconds: time the networks took.
    """

    class_names: tuple[str, ...]
    methods: tuple[Method, ...]
    counts: np.ndarray
    faces: np.ndarray
    maps: np.ndarray
    seconds: float


def class_means(
    network: Network,
    split: Split,
    methods: Sequence[Method],
    class_name: str | None = None,
    name: str = "",
) -> ClassMeans:
    """Average the maps of a split's faces by true class.

    Each face's map is first divided by its mean absolute value, so that every face has the same
    say, however steep its logit is.

    Args:
        network: the classifier.
        split: faces whose classes are the network's, in any order.
        methods: rows of `METHODS`.
        class_name: class to explain; None takes each face's true class.
        name: shown beside the progress bar.
    """
    total, side = len(network.class_names), split.images.shape[1:]
    counts = np.zeros((2, total), np.int64)
    faces = np.zeros((total, *side))
    maps = np.zeros((2, total, len(methods), *side))
    column = np.array([network.class_names.index(c) for c in split.class_names])
    labels = column[split.targets.argmax(axis=1)]
    started = time.perf_counter()
    with progress_bar(total=len(labels), desc=name, unit=" images") as bar:
        for begin in range(0, len(labels), network.batch_size):
            some = slice(begin, begin + network.batch_size)
            batch, of_batch = split.images[some], labels[some]
            explained = of_batch
            if class_name is not None:
                explained = np.full_like(of_batch, network.class_names.index(class_name))
            right = network.predict(batch).argmax(axis=1) == of_batch
            found = np.stack([method(network, batch, explained) for method in methods], axis=1)
            scale = np.abs(found).mean(axis=(2, 3), keepdims=True)
            found = np.divide(found, scale, out=np.zeros_like(found), where=scale > 0)
            np.add.at(faces, of_batch, batch)
            for group, members in enumerate((np.ones_like(right), right)):
                np.add.at(counts[group], of_batch[members], 1)
                np.add.at(maps[group], of_batch[members], found[members])
            bar.update(len(batch))
    seconds = time.perf_counter() - started
    with np.errstate(invalid="ignore"):  # 0 / 0: a class without faces has no mean
        faces /= counts[0, :, None, None]
        maps /= counts[:, :, None, None, None]
    return ClassMeans(
        network.class_names,
        tuple(methods),
        counts,
        faces.astype(np.float32),
        maps.astype(np.float32),
        seconds,
    )


def write_class_means(found: ClassMeans, path: Path) -> None:
    """Write the means as an .npz file, whole or not at all, under the attributes' names."""
    with replacing(path) as temporary:
        np.savez_compressed(
            temporary,
            class_names=found.class_names,
            methods=[method.name for method in found.methods],
            counts=found.counts,
            faces=found.faces,
            maps=found.maps,
        )
