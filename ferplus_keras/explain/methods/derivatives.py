"""Maps made of derivatives, with respect to the pixels or to the last feature map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ferplus_keras.explain.methods import method

if TYPE_CHECKING:
    from ferplus_keras.explain.network import Network

SAMPLES = 32
"""Noisy copies of a face that SmoothGrad averages; the paper sees little change beyond 50."""

NOISE = 0.15
"""Their noise as a share of the face's range of grey levels; the paper advises 0.1 to 0.2."""

STEPS = 64
"""Points between baseline and face; the paper uses 20 to 300."""


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
    import cv2

    maps, derivatives = network.feature_maps(faces, classes)
    weights = derivatives.mean(axis=(1, 2), keepdims=True)
    coarse = np.maximum((maps * weights).sum(axis=-1), 0)
    found = np.zeros(faces.shape[:3], np.float32)
    inside, side = slice(*network.box), network.box[1] - network.box[0]
    for into, small in zip(found, coarse, strict=True):
        into[inside, inside] = cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)
    return found
