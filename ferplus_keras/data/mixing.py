"""Which rows an epoch reads, and how a batch mixes them: mixup, CutMix and label smoothing.

Faces stay uint8, and targets that sum to 1 still do; all randomness comes from the generator that
is passed in.
"""

from collections.abc import Callable

import numpy as np

from ferplus_keras.registry import Registry

SAMPLINGS: Registry[Callable[[np.ndarray, np.random.Generator], np.ndarray]] = Registry("sampling")
"""Name -> function from targets (n, C) and a generator to row numbers (n,) int64."""


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
    count, height, width = images.shape[:3]
    other = rng.permutation(count)
    side = np.sqrt(1 - rng.beta(alpha, alpha, count))
    inside = np.ones((count, 1, 1), bool)
    for axis, length in ((1, height), (2, width)):
        centre = rng.integers(0, length, count)
        half = np.rint(side * length).astype(np.int64) / 2
        position = np.arange(length)[None]
        within = (position >= (centre - half)[:, None]) & (position < (centre + half)[:, None])
        inside = inside & np.expand_dims(within, 3 - axis)
    share = 1 - inside.mean(axis=(1, 2), dtype=np.float32)
    pasted = inside.reshape(*inside.shape, *[1] * (images.ndim - 3))
    return np.where(pasted, images[other], images), _mix_targets(targets, other, share)


def smooth(targets: np.ndarray, amount: float) -> np.ndarray:
    """Give every class an equal part of `amount`, 0 to 1, of each target (Szegedy et al. 2016)."""
    total = targets.sum(axis=1, keepdims=True)
    return targets * np.float32(1 - amount) + total * np.float32(amount / targets.shape[1])


def _mix_targets(targets: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    return targets * share[:, None] + targets[other] * (1 - share[:, None])
