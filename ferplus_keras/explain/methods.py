"""Explanation methods, and what they ask of any classifier. Importing this imports no Keras.

To add a method, write one function under `@method`, a line in docs/explain.md and a test case.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from ferplus_keras.classifier import Classifier
from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.errors import InputError
from ferplus_keras.lazy import cv2
from ferplus_keras.registry import Registry
from ferplus_keras.run import MAX_ACCURACY, PRECISIONS

if TYPE_CHECKING:
    from ferplus_keras.explain.network import Network

SAMPLES = 32
"""Noisy copies of a face that SmoothGrad averages; the paper sees little change beyond 50."""

NOISE = 0.15
"""Their noise as a share of the face's range of grey levels; the paper advises 0.1 to 0.2."""

STEPS = 256
"""Points between baseline and face; the paper uses 20 to 300."""

PATCH = 8
"""Side of the grey patch in pixels of a 48x48 face: about an eye. Larger faces get a larger one."""

STRIDE = 4
"""Likewise, from one place of the patch to the next: 121 places."""


class Scores:
    """Any classifier; its scores are its probabilities, whatever the batch size.

    Attributes:
        class_names: the C classes.
        box: (first, end) of the rows and columns of a face that it looks at; here all of them.
        grey: uninformative grey level (0-255): the mean that it subtracts, else 128.
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
        """Why there are no gradients, and which file has them."""
        path = self.classifier.path
        if path is None or self.classifier.network:
            return "the network is not built as build_model builds it, so it has no known gradients"
        beside = [re.sub(f"_({'|'.join(PRECISIONS)})$", "", path.stem) + ".keras", MAX_ACCURACY]
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

    Its function takes (network, faces (n, s, s) uint8, classes (n,) int) and returns maps (n, s, s)
    float32. A face's map depends neither on the other faces nor on the batch size, and is the same
    in every run. Above 0 it speaks for the class and below 0 against it, unless it is `absolute`.
    """

    name: str  # on the command line
    title: str  # in pictures
    source: str  # where it was published
    function: Callable[..., np.ndarray]
    absolute: bool = False  # a map only says how much a pixel matters, 0 or more
    scores_suffice: bool = False  # it explains exports too; the others need gradients
    needs_feature_map: bool = False  # a two-dimensional one

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


@method("saliency", "Simonyan et al. 2013, arXiv 1312.6034", absolute=True)
def saliency(network: Network, faces: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return how much each pixel moves the logit, in logits per grey level."""
    return np.abs(network.gradients(faces, classes))


@method("SmoothGrad", "Smilkov et al. 2017, arXiv 1706.03825", absolute=True)
def smoothgrad(network: Network, faces: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the absolute mean derivative over copies of the face with Gaussian noise.

    Every face gets the same pattern of noise, scaled to its own range of grey levels.
    """
    rng = np.random.default_rng(0)
    total = np.zeros(faces.shape[:3], np.float32)
    spread = NOISE * np.ptp(faces, axis=tuple(range(1, faces.ndim)), keepdims=True)
    for _ in range(SAMPLES):
        pattern = rng.standard_normal(faces.shape[1:], dtype=np.float32)
        total += network.gradients(faces + spread.astype(np.float32) * pattern, classes)
    return np.abs(total / SAMPLES)


@method("integrated gradients", "Sundararajan et al. 2017, arXiv 1703.01365")
def integrated_gradients(
    network: Network, faces: np.ndarray, classes: np.ndarray, steps: int = STEPS
) -> np.ndarray:
    """Return each pixel's share of the logit's difference between the face and plain grey.

    The derivative is averaged along the straight line from the baseline, what preprocessing makes
    of a picture of the network's `grey`, to what it makes of the face (midpoint rule), and
    multiplied by the distance between them. A map therefore sums to the difference of the two
    logits, up to the error of that rule.
    """
    images = network.images(faces)
    baseline = network.images(np.full_like(faces[:1], network.grey, np.float32))
    way = images - baseline
    total = np.zeros(images.shape, np.float32)
    for step in range(steps):
        total += network.image_gradients(baseline + way * ((step + 0.5) / steps), classes)
    return network.to_faces(way * total / steps)


@method("Grad-CAM", "Selvaraju et al. 2017, arXiv 1610.02391", needs_feature_map=True)
def grad_cam(network: Network, faces: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the last feature map's channels, weighted by their mean derivative, where positive.

    The map is as coarse as the features (6x6 in CompactFER, 2x2 in ResNet50 at 48 pixels) and is
    enlarged bilinearly to the part of the face that the network looks at.
    """
    maps, derivatives = network.feature_maps(faces, classes)
    weights = derivatives.mean(axis=(1, 2), keepdims=True)
    coarse = np.maximum((maps * weights).sum(axis=-1), 0)
    found = np.zeros(faces.shape[:3], np.float32)
    inside, side = slice(*network.box), network.box[1] - network.box[0]
    for into, small in zip(found, coarse, strict=True):
        into[inside, inside] = cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)
    return found


@method("occlusion", "Zeiler & Fergus 2014, arXiv 1311.2901", scores_suffice=True)
def occlusion(
    network: Scores, faces: np.ndarray, classes: np.ndarray, patch=PATCH, stride=STRIDE
) -> np.ndarray:
    """Return the mean fall of the score over the patches that cover each pixel.

    It needs no derivative, but one pass per face and place of the patch. The last place in each
    direction always touches the border of the part that the network looks at.
    """
    first, end = network.box
    patch, stride = (max(round(n * faces.shape[1] / FACE_SIZE), 1) for n in (patch, stride))
    last = max(first, end - patch)
    spans = [slice(start, start + patch) for start in sorted({*range(first, last, stride), last})]
    places = list(product(spans, spans))
    rows = np.arange(len(faces))
    whole = network.scores(faces)[rows, classes]
    fall = np.zeros(faces.shape[:3], np.float32)
    covered = np.zeros(faces.shape[1:3], np.float32)
    # With few faces a batch holds many places, so that one face is as fast as its share of many.
    together = max(1, network.batch_size // len(faces))
    for begin in range(0, len(places), together):
        some = places[begin : begin + together]
        variants = np.repeat(faces[None].astype(np.float32), len(some), axis=0)
        for variant, (y, x) in zip(variants, some, strict=True):
            variant[:, y, x] = network.grey
        scores = network.scores(variants.reshape(-1, *faces.shape[1:]))
        of_places = scores.reshape(len(some), len(faces), -1)[:, rows, classes]
        for of_place, (y, x) in zip(of_places, some, strict=True):
            fall[:, y, x] += (whole - of_place)[:, None, None]
            covered[y, x] += 1
    return fall / np.maximum(covered, 1)
