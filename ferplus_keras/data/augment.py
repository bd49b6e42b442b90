"""What training draws anew (augmentation, sampling, mixup, CutMix), and test-time views.

All of it works on uint8 faces, before the model's own resizing, and is repeatable: the same images
with the same seed integers or generator give the same pixels, on any thread.
"""

import math
import os
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ferplus_keras.registry import Registry

Augmentation = Callable[[np.ndarray, Sequence[int]], np.ndarray]
"""(images (b, s, s) or (b, s, s, 3) uint8, non-negative seed integers) -> new images alike."""

PRESETS: Registry[Callable[[Any, int], list]] = Registry("augmentation")
"""Name -> function from the albumentations module and the side of a face to transforms."""

SAMPLINGS: Registry[Callable[[np.ndarray, np.random.Generator], np.ndarray]] = Registry("sampling")
"""Name -> function from targets (n, C) and a generator to the rows of an epoch, (n,) int64."""

VIEWS: Registry[Callable[[np.ndarray], list[np.ndarray]]] = Registry("kind of views")
"""Name -> function from faces (b, s, s) or (b, s, s, 3) uint8 to views of that shape."""


@PRESETS.register("none")
def none(albumentations: Any, size: int) -> list:
    """Leave faces as they are."""
    return []


@PRESETS.register("wtomin")
def wtomin(albumentations: Any, size: int) -> list:
    """Crop 80–100 % of the area, vary the brightness, flip (the older project)."""
    return [
        albumentations.RandomResizedCrop(size=(size, size), scale=(0.8, 1.0), ratio=(4 / 5, 5 / 4)),
        albumentations.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.1),
        albumentations.HorizontalFlip(p=0.5),
    ]


@PRESETS.register("khaireddin")
def khaireddin(albumentations: Any, size: int) -> list:
    """Crop, vary the brightness, shift 20 %, rotate 10°, flip, move 4 pixels, erase (Khaireddin).

    The steps of usef-kh/fer (Khaireddin & Chen 2021, arXiv 2105.03588), whose crop of up to 1.2 of
    the area never fits beyond 1. Its random 40x40 crop is a move by up to 4 of 48 pixels here,
    since the network looks at the centre.
    """
    pixels = size // 12
    return [
        albumentations.RandomResizedCrop(size=(size, size), scale=(0.8, 1.0), ratio=(3 / 4, 4 / 3)),
        albumentations.RandomBrightnessContrast(brightness_limit=0.5, contrast_limit=0.5, p=0.5),
        albumentations.Affine(translate_percent=(-0.2, 0.2), p=0.5),
        albumentations.HorizontalFlip(p=0.5),
        albumentations.Rotate(limit=10, p=0.5),
        albumentations.Affine(translate_px=(-pixels, pixels), p=1),
        albumentations.Erasing(scale=(0.02, 0.33), ratio=(0.3, 3.3), fill=0, p=0.5),
    ]


@PRESETS.register("microsoft")
def microsoft(albumentations: Any, size: int) -> list:
    """Rotate 20°, shift 8 %, scale by 1.05, skew by 0.05, flip (Barsoum et al. 2016, FERPlus)."""
    skew = math.degrees(math.atan(0.05))
    moves = {"rotate": (-20, 20), "translate_percent": (-0.08, 0.08), "shear": (-skew, skew)}
    return [
        albumentations.Affine(scale=(1 / 1.05, 1.05), **moves, p=1),
        albumentations.HorizontalFlip(p=0.5),
    ]


@PRESETS.register("strong")
def strong(albumentations: Any, size: int) -> list:
    """Flip, rotate 15°, shift 10 %, scale by 0.85–1.15, shear, vary the brightness, erase."""
    import cv2

    moves = {"rotate": (-15, 15), "translate_percent": (-0.1, 0.1), "shear": (-5, 5)}
    moves |= {"scale": (0.85, 1.15), "border_mode": cv2.BORDER_REPLICATE}
    return [
        albumentations.HorizontalFlip(p=0.5),
        albumentations.Affine(**moves, p=0.9),
        albumentations.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.3, p=0.8),
        albumentations.Erasing(scale=(0.02, 0.2), ratio=(0.4, 2.5), fill="random_uniform", p=0.4),
    ]


def augmentation(name: str) -> Augmentation:
    """Return the preset called `name` as one function over batches; raises UsageError.

    Several threads may call it at once; its input, which may be read-only, stays as it is.
    """
    # `Compose.set_random_seed` is slow and seeds every transform alike, so that their draws
    # coincide: one generator per batch is shared by all of them. Each thread has its own `Compose`.
    preset = PRESETS[name]
    of_thread = threading.local()

    def change(images: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
        if preset is none:
            return np.array(images)
        size = images.shape[1]
        if getattr(of_thread, "size", None) != size:
            # Otherwise the import asks PyPI for a newer version.
            os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
            import albumentations

            of_thread.compose = albumentations.Compose(preset(albumentations, size))
            of_thread.size = size
        compose = of_thread.compose
        generator = np.random.default_rng(list(seeds))
        compose.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        return np.stack([compose(image=image)["image"] for image in images])

    return change


@VIEWS.register("none")
def _as_they_are(images: np.ndarray) -> list[np.ndarray]:
    """Return the face itself."""
    return [images]


@VIEWS.register("flip")
def _flip(images: np.ndarray) -> list[np.ndarray]:
    """Return the face and its mirror image."""
    return [images, np.ascontiguousarray(images[:, :, ::-1])]


@VIEWS.register("ten_crop")
def _ten_crop(images: np.ndarray) -> list[np.ndarray]:
    """Return crops of the centre and the four corners, mirrored too (Krizhevsky et al. 2012).

    A face is moved by a twelfth, 4 of 48 pixels, towards the opposite corner, its border repeated.
    A network that looks at the centre 40x40 pixels thus sees exactly the 40x40 crop of that corner.
    """
    side = images.shape[1]
    shift = round(side / 12)
    around = [(0, 0), (shift, shift), (shift, shift), (0, 0)]
    padded = np.pad(images, around[: images.ndim], mode="edge")
    corners = ((shift, shift), (0, 0), (0, 2 * shift), (2 * shift, 0), (2 * shift, 2 * shift))
    crops = (padded[:, top : top + side, left : left + side] for top, left in corners)
    return [view for crop in crops for view in _flip(np.ascontiguousarray(crop))]


@SAMPLINGS.register("shuffled")
def shuffled(targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return every row once, in a random order."""
    return rng.permutation(len(targets))


@SAMPLINGS.register("balanced")
def balanced(targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return as many rows as there are, drawn with replacement, every class equally often.

    A row with a soft target stands for each class by its share. Classes without rows are skipped.
    """
    shares = targets / targets.sum(axis=1, keepdims=True, dtype=np.float64)
    of_class = shares.sum(axis=0)
    wanted = np.divide(1, of_class, out=np.zeros_like(of_class), where=of_class > 0)
    chance = shares @ wanted
    return rng.choice(len(targets), len(targets), p=chance / chance.sum())


def mixup(
    images: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Blend each face (b, h, w) or (b, h, w, 3) uint8 and target (b, C) float32 with another's.

    Zhang et al. 2018 (arXiv 1710.09412): the share is drawn from Beta(alpha, alpha), once per face.
    Returns new images and targets, of the same shapes and types.
    """
    other = rng.permutation(len(images))
    share = rng.beta(alpha, alpha, len(images)).astype(np.float32)
    blend = share.reshape(-1, *[1] * (images.ndim - 1))
    blended = images * blend + images[other] * (1 - blend)
    return np.rint(blended).astype(np.uint8), _mix_targets(targets, other, share)


def cutmix(
    images: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paste a rectangle of another face, and mix the targets by its area; arrays as for `mixup`.

    Yun et al. 2019 (arXiv 1905.04899): the area is drawn from Beta(alpha, alpha), its centre
    uniformly, once per face; what reaches over the edge is cut off.
    """
    count, side = images.shape[:2]
    other = rng.permutation(count)
    half = np.rint(np.sqrt(1 - rng.beta(alpha, alpha, count)) * side)[:, None] / 2
    distance = [np.arange(side) - rng.integers(0, side, (count, 1)) for _ in ("rows", "columns")]
    down, across = ((-half <= d) & (d < half) for d in distance)
    inside = down[:, :, None] & across[:, None]
    share = 1 - inside.mean(axis=(1, 2), dtype=np.float32)
    pasted = inside.reshape(*inside.shape, *[1] * (images.ndim - 3))
    return np.where(pasted, images[other], images), _mix_targets(targets, other, share)


def smooth(targets: np.ndarray, amount: float) -> np.ndarray:
    """Give every class an equal part of `amount`, 0 to 1, of each target (Szegedy et al. 2016)."""
    total = targets.sum(axis=1, keepdims=True)
    return targets * np.float32(1 - amount) + total * np.float32(amount / targets.shape[1])


def _mix_targets(targets: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    return targets * share[:, None] + targets[other] * (1 - share[:, None])
