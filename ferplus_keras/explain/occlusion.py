"""Occlusion: what the logit loses when a part of the face is covered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ferplus_keras.explain.network import Network

PATCH = 8
"""Side of the grey patch in pixels: about an eye."""

STRIDE = 4
"""Pixels from one place of the patch to the next: 121 places on a 48x48 face."""


def occlusion(
    network: Network,
    faces: np.ndarray,
    classes: np.ndarray,
    *,
    patch: int = PATCH,
    stride: int = STRIDE,
) -> np.ndarray:
    """Return, for each pixel, the mean loss of logit over the patches that cover it.

    Needs no derivative, but as many passes a face as the patch has places.

    Args:
        network: the classifier.
        faces: (n, 48, 48) uint8.
        classes: (n,) int, class to explain of each face.
        patch: side of the patch, in pixels; filled with the network's `grey`.
        stride: pixels between places; the last place always touches the border.

    Returns:
        (n, 48, 48) float32, logits; above 0 where what was covered speaks for the class.
    """
    top, bottom, left, right = network.box
    places = [
        (slice(y, y + patch), slice(x, x + patch))
        for y in _starts(top, bottom, patch, stride)
        for x in _starts(left, right, patch, stride)
    ]
    rows = np.arange(len(faces))
    whole = network.logits(faces)[rows, classes]
    loss = np.zeros(faces.shape, np.float32)
    covered = np.zeros(faces.shape[1:], np.float32)
    # Few faces make many places a batch, so that one face is as quick as its share of many.
    together = max(1, network.batch_size // len(faces))
    for begin in range(0, len(places), together):
        some = places[begin : begin + together]
        variants = np.repeat(faces[None].astype(np.float32), len(some), axis=0)
        for variant, (y, x) in zip(variants, some, strict=True):
            variant[:, y, x] = network.grey
        logits = network.logits(variants.reshape(-1, *faces.shape[1:]))
        left_over = logits.reshape(len(some), len(faces), -1)[:, rows, classes]
        for of_place, (y, x) in zip(left_over, some, strict=True):
            loss[:, y, x] += (whole - of_place)[:, None, None]
            covered[y, x] += 1
    return loss / np.maximum(covered, 1)


def _starts(first: int, end: int, patch: int, stride: int) -> list[int]:
    last = max(first, end - patch)
    return sorted({*range(first, last, stride), last})
