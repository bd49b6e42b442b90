"""Occlusion: how much the score falls when a part of the face is covered."""

from __future__ import annotations

from itertools import product

import numpy as np

from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.explain.methods import Scores, method

PATCH = 8
"""Side of the grey patch in pixels of a 48x48 face: about an eye. Larger faces get a larger one."""

STRIDE = 4
"""Likewise, from one place of the patch to the next: 121 places."""


@method("occlusion", "Zeiler & Fergus 2014, arXiv 1311.2901", scores_suffice=True)
def occlusion(
    network: Scores, faces: np.ndarray, classes: np.ndarray, patch=PATCH, stride=STRIDE
) -> np.ndarray:
    """Return the mean fall of the score over the patches that cover each pixel.

    Needs no derivative, but as many passes per face as the patch has places. The last place in
    each direction always touches the border of the part that the network looks at.
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
    # Few faces make many places per batch, so that one face is as quick as its share of many.
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
