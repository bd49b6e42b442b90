"""Grad-CAM: where the last feature map speaks for a class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ferplus_keras.explain.methods import method

if TYPE_CHECKING:
    from ferplus_keras.explain.network import Network


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
