"""What training changes in a face, on albumentations: one table of presets.

Every preset works on 48x48 uint8 faces, before the model's own resizing, and is repeatable: the
same images with the same seed integers give the same pixels, on any machine thread.
"""

import os
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.errors import unknown

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


PRESETS: dict[str, Callable[[Any], list] | None] = {
    "none": None,
    "wtomin": _wtomin,
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
