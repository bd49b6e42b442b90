"""Cut out a detected face as the faces of FER2013 are."""

from __future__ import annotations

import numpy as np

from ferplus_keras.data.pictures import as_face
from ferplus_keras.inference.detectors import DetectedFace

MARGIN = 0.0
"""How much larger than the detected box the square is that is cut out, as a share of its side.
Chosen by `benchmarks/face_crop.py` on validation faces, as was to turn faces upright."""


def crop_face(picture: np.ndarray, face: DetectedFace, margin: float = MARGIN) -> np.ndarray:
    """Cut a square around a face, turned until its eyes are level.

    Where the square reaches over the picture, its edge is repeated.

    Args:
        picture: (h, w, 3) uint8, RGB.
        face: where it is.
        margin: how much larger than the box's longer side the square is, as a share of it.

    Returns:
        (48, 48) uint8 grey levels.
    """
    import cv2

    x, y, width, height = face.box
    side = max(round(max(width, height) * (1 + margin)), 1)
    if face.tilt:
        turned = cv2.getRotationMatrix2D((x + width / 2, y + height / 2), face.tilt, 1)
        turned[:, 2] += (side - width) / 2 - x, (side - height) / 2 - y
        square = cv2.warpAffine(picture, turned, (side, side), borderMode=cv2.BORDER_REPLICATE)
        return as_face(square)
    left, top = round(x + (width - side) / 2), round(y + (height - side) / 2)
    rows = np.clip(np.arange(top, top + side), 0, picture.shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, picture.shape[1] - 1)
    return as_face(picture[rows[:, None], columns])
