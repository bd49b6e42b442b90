"""Grad-CAM: where the last feature map speaks for a class."""

import cv2
import numpy as np

from ferplus_keras.errors import InputError
from ferplus_keras.explain.network import Network


def grad_cam(network: Network, faces: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the last feature map's channels, weighed by their mean derivative, where positive.

    The map is as coarse as the features (6x6 in CompactFER, 2x2 in ResNet50 at 48 pixels) and is
    enlarged bilinearly to the part of the face that the network looks at.

    Args:
        network: the classifier.
        faces: (n, 48, 48) uint8.
        classes: (n,) int, class to explain of each face.

    Returns:
        (n, 48, 48) float32, 0 or more.

    Raises:
        InputError: the network has no two-dimensional feature map.
    """
    if network.feature_layer is None:
        raise InputError(
            "grad_cam needs a layer with a two-dimensional feature map larger than 1x1, and this "
            "network has none; choose another --method"
        )
    maps, derivatives = network.feature_maps(faces, classes)
    weights = derivatives.mean(axis=(1, 2), keepdims=True)
    coarse = np.maximum((maps * weights).sum(axis=-1), 0)
    found = np.zeros(faces.shape, np.float32)
    top, bottom, left, right = network.box
    for into, small in zip(found, coarse, strict=True):
        into[top:bottom, left:right] = cv2.resize(
            small, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR
        )
    return found
