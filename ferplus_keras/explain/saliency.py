"""Maps made of derivatives by the pixels: saliency, SmoothGrad, integrated gradients."""

import numpy as np

from ferplus_keras.explain.network import Network

SAMPLES = 32
"""Noisy copies of a face that SmoothGrad averages; the paper sees little change beyond 50."""

NOISE = 0.15
"""Their noise as a share of the face's range of grey levels; the paper advises 0.1 to 0.2."""

STEPS = 64
"""Points between baseline and face; the paper uses 20 to 300."""


def saliency(network: Network, faces: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return how much each pixel moves the logit: the absolute derivative.

    Args:
        network: the classifier.
        faces: (n, 48, 48) uint8.
        classes: (n,) int, class to explain of each face.

    Returns:
        (n, 48, 48) float32, logits per grey level, 0 or more.
    """
    return np.abs(network.gradients(faces, classes))


def smoothgrad(
    network: Network,
    faces: np.ndarray,
    classes: np.ndarray,
    *,
    samples: int = SAMPLES,
    noise: float = NOISE,
    seed: int = 0,
) -> np.ndarray:
    """Return the absolute mean derivative over copies of the face with Gaussian noise.

    Every face gets the same pattern of noise, scaled to its own range of grey levels.

    Args:
        network: the classifier.
        faces: (n, 48, 48) uint8.
        classes: (n,) int, class to explain of each face.
        samples: noisy copies a face.
        noise: standard deviation as a share of the face's range.
        seed: of the noise.

    Returns:
        (n, 48, 48) float32, logits per grey level, 0 or more.
    """
    rng = np.random.default_rng(seed)
    total = np.zeros(faces.shape, np.float32)
    spread = noise * np.ptp(faces.reshape(len(faces), -1), axis=1).astype(np.float32)
    for _ in range(samples):
        pattern = rng.standard_normal(faces.shape[1:], dtype=np.float32)
        total += network.gradients(faces + spread[:, None, None] * pattern, classes)
    return np.abs(total / samples)


def integrated_gradients(
    network: Network, faces: np.ndarray, classes: np.ndarray, *, steps: int = STEPS
) -> np.ndarray:
    """Return each pixel's share of the logit's difference between the face and plain grey.

    The derivative is averaged along the straight line from the baseline, what preprocessing makes
    of a picture of the network's `grey`, to what it makes of the face (midpoint rule), and
    multiplied by the distance between them. A map therefore sums to the difference of the two
    logits, up to the error of that rule.

    Args:
        network: the classifier.
        faces: (n, 48, 48) uint8.
        classes: (n,) int, class to explain of each face.
        steps: points on the line.

    Returns:
        (n, 48, 48) float32, logits; above 0 where the pixel speaks for the class.
    """
    images = network.images(faces)
    baseline = network.images(np.full_like(faces[:1], network.grey, np.float32))
    way = images - baseline
    total = np.zeros(images.shape, np.float32)
    for step in range(steps):
        total += network.image_gradients(baseline + way * ((step + 0.5) / steps), classes)
    return network.to_faces(way * total / steps)
