"""What training changes in a face, on albumentations: one table of presets.

Every preset works on 48x48 uint8 faces, before the model's own resizing, and is repeatable: the
same images with the same seed integers give the same pixels, on any machine thread.
"""

import math
import os
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.errors import unknown
from ferplus_keras.registry import Registry

Augmentation = Callable[[np.ndarray, Sequence[int]], np.ndarray]
"""(images (b, 48, 48) uint8, non-negative seed integers) -> new images (b, 48, 48) uint8."""


def _wtomin(albumentations: Any) -> list:
    """Return the older project's three steps: slight zoom and stretch, light, mirror image.

    Its crop went straight to 224x224; here the model enlarges the 48x48 result itself.
    """
    return [
        albumentations.RandomResizedCrop(
            size=(FACE_SIZE, FACE_SIZE), scale=(0.8, 1.0), ratio=(4 / 5, 5 / 4)
        ),
        albumentations.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.1),
        albumentations.HorizontalFlip(p=0.5),
    ]


def _khaireddin(albumentations: Any) -> list:
    """Return the steps of usef-kh/fer (Khaireddin & Chen 2021, arXiv 2105.03588).

    Its resized crop asks for 0.8 to 1.2 of the area, of which what exceeds the face never fits;
    its random 40x40 crop is a move by up to 4 pixels here: the network looks at the centre 40x40.
    """
    return [
        albumentations.RandomResizedCrop(
            size=(FACE_SIZE, FACE_SIZE), scale=(0.8, 1.0), ratio=(3 / 4, 4 / 3)
        ),
        albumentations.RandomBrightnessContrast(brightness_limit=0.5, contrast_limit=0.5, p=0.5),
        albumentations.Affine(translate_percent=(-0.2, 0.2), p=0.5),
        albumentations.HorizontalFlip(p=0.5),
        albumentations.Rotate(limit=10, p=0.5),
        albumentations.Affine(translate_px=(-4, 4), p=1),
        albumentations.Erasing(scale=(0.02, 0.33), ratio=(0.3, 3.3), fill=0, p=0.5),
    ]


def _microsoft(albumentations: Any) -> list:
    """Return the steps of Microsoft's FERPlus code (Barsoum et al. 2016, arXiv 1608.01041)."""
    skew = math.degrees(math.atan(0.05))
    return [
        albumentations.Affine(
            rotate=(-20, 20),
            translate_percent=(-0.08, 0.08),
            scale=(1 / 1.05, 1.05),
            shear=(-skew, skew),
            p=1,
        ),
        albumentations.HorizontalFlip(p=0.5),
    ]


def _strong(albumentations: Any) -> list:
    """Return what trains small networks from scratch here: more of everything, edges repeated."""
    import cv2

    return [
        albumentations.HorizontalFlip(p=0.5),
        albumentations.Affine(
            rotate=(-15, 15),
            translate_percent=(-0.1, 0.1),
            scale=(0.85, 1.15),
            shear=(-5, 5),
            border_mode=cv2.BORDER_REPLICATE,
            p=0.9,
        ),
        albumentations.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.3, p=0.8),
        albumentations.Erasing(scale=(0.02, 0.2), ratio=(0.4, 2.5), fill="random_uniform", p=0.4),
    ]


PRESETS: dict[str, Callable[[Any], list] | None] = {
    "none": None,
    "wtomin": _wtomin,
    "khaireddin": _khaireddin,
    "microsoft": _microsoft,
    "strong": _strong,
}
"""Name -> function from the albumentations module to a list of transforms; None changes nothing."""


def augmentation(name: str) -> Augmentation:
    """Return the preset called `name` as one function over batches.

    It may be called from several threads at once and never changes its input, which may be a
    read-only memory map.

    Raises:
        UsageError: no preset has that name.

    Example:
        >>> change = augmentation("wtomin")
        >>> change(faces, [seed, epoch, batch_index]).shape  # doctest: +SKIP
        (64, 48, 48)
    """
    if name not in PRESETS:
        raise unknown("augmentation", name, PRESETS)
    steps = PRESETS[name]
    if steps is None:
        return lambda images, _seeds: np.array(images)
    return _Albumentations(steps)


class _Albumentations:
    """Runs a list of albumentations transforms over batches.

    `Compose.set_random_seed` costs as much as augmenting an image and seeds every transform
    alike, so that their draws coincide. Here one generator is made a batch and shared by all
    transforms; and as a `Compose` carries its generator with it, each thread has its own.
    """

    def __init__(self, steps: Callable[[Any], list]):
        self._steps = steps
        self._of_thread = threading.local()

    def __call__(self, images: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
        compose = self._compose()
        generator = np.random.default_rng(list(seeds))
        compose.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        return np.stack([compose(image=image)["image"] for image in images])

    def _compose(self) -> Any:
        """Return this thread's own `albumentations.Compose`."""
        if not hasattr(self._of_thread, "compose"):
            # Otherwise the import asks PyPI for a newer version.
            os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
            import albumentations

            self._of_thread.compose = albumentations.Compose(self._steps(albumentations))
        return self._of_thread.compose


VIEWS: Registry[Callable[[np.ndarray], list[np.ndarray]]] = Registry("kind of views")
"""Name -> function from faces (b, 48, 48) uint8 to views of that shape, averaged when testing."""

SHIFT = 4
"""Pixels by which the views of `ten_crop` look away from the centre."""


@VIEWS.register("none")
def _as_they_are(images: np.ndarray) -> list[np.ndarray]:
    """Return the faces as they are."""
    return [images]


@VIEWS.register("flip")
def _flip(images: np.ndarray) -> list[np.ndarray]:
    """Return the faces and their mirror images."""
    return [images, np.ascontiguousarray(images[:, :, ::-1])]


@VIEWS.register("ten_crop")
def _ten_crop(images: np.ndarray) -> list[np.ndarray]:
    """Return the centre and four corners, mirrored too (Krizhevsky et al. 2012).

    A face is moved by 4 pixels towards the opposite corner, its border repeated. A network that
    looks at the centre 40x40 pixels thus sees exactly the 40x40 crop of that corner.
    """
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)), mode="edge")
    height, width = images.shape[1:]
    corners = ((SHIFT, SHIFT), (0, 0), (0, 2 * SHIFT), (2 * SHIFT, 0), (2 * SHIFT, 2 * SHIFT))
    crops = (padded[:, top : top + height, left : left + width] for top, left in corners)
    return [view for crop in crops for view in _flip(np.ascontiguousarray(crop))]
