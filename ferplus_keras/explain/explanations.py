"""Explanations of one face, of several, and of a whole split by class."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.classifier import Classifier
from ferplus_keras.data.dataset import Split
from ferplus_keras.errors import unknown
from ferplus_keras.explain.methods import METHODS, Method, Scores
from ferplus_keras.files import replacing
from ferplus_keras.progress import progress_bar

_TURN = threading.Lock()  # gradients are not made for several threads


class Faces(NamedTuple):
    """Faces (n, s, s[, 3]) uint8, what each is called, and its true class; "" where unknown."""

    images: np.ndarray
    names: list[str]
    labels: list[str]


@lru_cache(maxsize=8)
def scores_of(classifier: Classifier, batch_size: int = 64) -> Scores:
    """Return what explains a classifier: its Keras network, or its scores where it has none."""
    if classifier.network is not None:
        from ferplus_keras.explain.network import HEAD, PREPROCESSING, Network

        if {PREPROCESSING, HEAD} <= {layer.name for layer in classifier.network.layers}:
            return Network(classifier, batch_size)
    return Scores(classifier, batch_size)


def methods_of(classifier: Classifier) -> list[Method]:
    """Return the methods that can explain a classifier."""
    with _TURN:
        network = scores_of(classifier)
        return [method for method in METHODS.values() if method.refusal(network) is None]


def explain_face(
    classifier: Classifier, face: np.ndarray, class_name: str, method: str
) -> np.ndarray:
    """Return which pixels of a face, (s, s) uint8, speak for a class: (s, s) float32.

    Safe from any thread. A Keras network is explained by its logits; an export, which only
    occlusion can explain, by its probabilities. `method` is a row of `METHODS`.

    Raises:
        UsageError: an unknown class or method.
        InputError: the method cannot explain this classifier.
    """
    if class_name not in classifier.class_names:
        raise unknown("class", class_name, classifier.class_names)
    explained = np.array([classifier.class_names.index(class_name)])
    with _TURN:
        return METHODS[method](scores_of(classifier), face[None], explained)[0]


def explain_faces(
    network: Scores, faces: Faces, methods: Sequence[Method], class_name: str | None = None
) -> dict[str, np.ndarray]:
    """Explain faces by some methods; `class_name` None means each face's most probable class.

    Returns:
        The arrays of explanations.npz: `maps` (n, m, s, s) float32, each in its method's own units;
        `methods` (m,) and `names` (n,); `labels` (n,), "" where unknown; `explained` (n,), the
        class that each face's maps are about; `probabilities` (n, C) float32; `class_names` (C,).
    """
    probabilities = network.predict(faces.images)
    classes = probabilities.argmax(axis=1)
    if class_name is not None:
        classes[:] = network.class_names.index(class_name)
    class_names = np.array(network.class_names)
    return {
        "maps": np.concatenate(list(_maps(network, faces.images, classes, methods))),
        "methods": np.array([method.name for method in methods]),
        "names": np.array(faces.names),
        "labels": np.array(faces.labels),
        "explained": class_names[classes],
        "probabilities": probabilities,
        "class_names": class_names,
    }


def class_means(
    network: Scores,
    split: Split,
    methods: Sequence[Method],
    class_name: str | None = None,
    name: str | None = None,
) -> dict[str, np.ndarray]:
    """Average the maps of a split's faces by true class.

    Each face's map is first divided by its mean absolute value, so that every face has the same
    say, however steep its logit is. `class_name` None means each face's true class; `name` is shown
    beside the progress bar. The split's classes are the network's, in its order.

    Returns:
        The arrays of class_means.npz: `class_names` (C,) and `methods` (m,); `counts` (2, C) int64,
        faces of the class: all of them, and those recognised correctly; `faces` (C, s, s) float32,
        the mean face in grey levels 0-255; `maps` (2, C, m, s, s) float32, mean maps of all and of
        the recognised. Where there is no face, a mean is NaN.
    """
    probabilities = network.predict(split.images)
    labels = split.labels(probabilities)
    right = probabilities.argmax(axis=1) == labels
    explained = labels
    if class_name is not None:
        explained = np.full_like(labels, network.class_names.index(class_name))
    total, side = len(network.class_names), split.images.shape[1:]
    counts = np.stack([np.bincount(some, minlength=total) for some in (labels, labels[right])])
    faces = np.zeros((total, *side))
    maps = np.zeros((2, total, len(methods), *side[:2]))
    begin = 0
    for found in _maps(network, split.images, explained, methods, name):
        some = slice(begin, begin := begin + len(found))
        scale = np.abs(found).mean(axis=(2, 3), keepdims=True)
        found = np.divide(found, scale, out=np.zeros_like(found), where=scale > 0)
        np.add.at(faces, labels[some], split.images[some])
        np.add.at(maps[0], labels[some], found)
        np.add.at(maps[1], labels[some][right[some]], found[right[some]])
    with np.errstate(invalid="ignore"):  # 0 / 0: a class without faces has no mean
        return {
            "class_names": np.array(network.class_names),
            "methods": np.array([method.name for method in methods]),
            "counts": counts,
            "faces": (faces.T / counts[0]).T.astype(np.float32),
            "maps": (maps / counts[:, :, None, None, None]).astype(np.float32),
        }


def save(found: dict[str, np.ndarray], path: Path) -> None:
    """Write arrays as an .npz file, whole or not at all."""
    with replacing(path) as temporary:
        np.savez_compressed(temporary, **found)


def _maps(network: Scores, images, classes, methods: Sequence[Method], name: str | None = None):
    """Yield the maps of one batch after the other, (b, m, s, s) float32."""
    with progress_bar(total=len(classes), desc=name, unit=" images") as bar:
        for begin in range(0, len(classes), network.batch_size):
            some = slice(begin, begin + network.batch_size)
            batch, of_batch = images[some], classes[some]
            found = [method(network, batch, of_batch) for method in methods]
            yield np.stack(found, axis=1).astype(np.float32)
            bar.update(len(batch))
