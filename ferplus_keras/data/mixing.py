"""What mixes faces and targets of a batch: mixup, CutMix and label smoothing.

Faces stay uint8, and targets that sum to 1 still do; all randomness comes from the generator that
is passed in.
"""

import numpy as np


def mixup(
    images: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Blend every face with another one of the batch, and their targets alike.

    Zhang et al. 2018 (arXiv 1710.09412): the share is drawn from Beta(alpha, alpha), once per face.

    Args:
        images: (b, h, w) or (b, h, w, 3) uint8.
        targets: (b, C) float32.
        alpha: above 0.
        rng: of the batch.

    Returns:
        New images, of the same shape and type, and targets (b, C) float32.
    """
    other = rng.permutation(len(images))
    share = rng.beta(alpha, alpha, len(images)).astype(np.float32)
    blend = share.reshape(-1, *[1] * (images.ndim - 1))
    blended = images * blend + images[other] * (1 - blend)
    return np.rint(blended).astype(np.uint8), _mix_targets(targets, other, share)


def cutmix(
    images: np.ndarray, targets: np.ndarray, alpha: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paste a rectangle of another face of the batch, and mix the targets by its area.

    Yun et al. 2019 (arXiv 1905.04899): the area is drawn from Beta(alpha, alpha), its centre
    uniformly, once per face; what reaches over the edge is cut off.

    Args, returns: as `mixup`.
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
