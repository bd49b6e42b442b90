"""Views of a face over which test-time augmentation averages: one table."""

from collections.abc import Callable

import numpy as np

SHIFT = 4
"""Pixels by which the views of `ten_crop` look away from the centre."""


def none(images: np.ndarray) -> list[np.ndarray]:
    """Return the faces as they are."""
    return [images]


def flip(images: np.ndarray) -> list[np.ndarray]:
    """Return the faces and their mirror images."""
    return [images, np.ascontiguousarray(images[:, :, ::-1])]


def ten_crop(images: np.ndarray) -> list[np.ndarray]:
    """Return the centre and four corners, mirrored too (Krizhevsky et al. 2012).

    A face is moved by 4 pixels towards the opposite corner, its border repeated. A network that
    looks at the centre 40x40 pixels thus sees exactly the 40x40 crop of that corner.
    """
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)), mode="edge")
    height, width = images.shape[1:]
    corners = ((SHIFT, SHIFT), (0, 0), (0, 2 * SHIFT), (2 * SHIFT, 0), (2 * SHIFT, 2 * SHIFT))
    crops = (padded[:, top : top + height, left : left + width] for top, left in corners)
    return [view for crop in crops for view in flip(np.ascontiguousarray(crop))]


VIEWS: dict[str, Callable[[np.ndarray], list[np.ndarray]]] = {
    "none": none,
    "flip": flip,
    "ten_crop": ten_crop,
}
"""Name -> function from faces (b, 48, 48) uint8 to views of that shape."""
