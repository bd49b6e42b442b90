"""Cut out a detected face as the faces of FER2013 are."""

from __future__ import annotations

import numpy as np

from ferplus_keras.data.pictures import as_face
from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.inference.detectors import DetectedFace, middle_of

MARGIN = 0.0  # how much larger than FER2013's frame the cut-out square is, as a share of its side

# FER2013's frame around a detected box, fitted by benchmarks/face_crop.py on training faces. Its
# side is a share of the box's height plus one of its width; its middle lies below the box's by a
# share of the height, and by a share of how far the eyes lie below the box's middle.
HEIGHT_SHARE, WIDTH_SHARE = 0.44, 0.67
EYES_LEVEL, EYES_SHARE = 0.037, 0.31


def crop_face(
    picture: np.ndarray, face: DetectedFace, margin: float = MARGIN, size: int = FACE_SIZE
) -> np.ndarray:
    """Cut out a face in the frame that FER2013 would have for it, turned until its eyes are level.

    A face without eyes is cut out as a square as wide as the longer side of its box. Where the
    square reaches over the picture, its edge is repeated.

    Args:
        picture: (h, w, 3) uint8, RGB.
        face: where it is.
        margin: how much larger the square is, as a share of its side.
        size: side of the face that is returned.

    Returns:
        (size, size) uint8 grey levels.
    """
    import cv2

    width, height = face.box[2:]
    middle = np.array(middle_of(face.box))
    side = max(width, height)
    if face.eyes is not None:
        side = HEIGHT_SHARE * height + WIDTH_SHARE * width
        angle = np.radians(face.tilt)
        down = np.array([-np.sin(angle), np.cos(angle)])
        eyes = (face.eyes.mean(axis=0) - middle) @ down
        middle = middle + (EYES_LEVEL * height + EYES_SHARE * eyes) * down
    side = max(round(side * (1 + margin)), 1)
    if face.tilt:
        turned = cv2.getRotationMatrix2D(tuple(map(float, middle)), face.tilt, 1)
        turned[:, 2] += side / 2 - middle
        square = cv2.warpAffine(picture, turned, (side, side), borderMode=cv2.BORDER_REPLICATE)
        return as_face(square, size)
    left, top = np.rint(middle - side / 2).astype(int)
    rows = np.clip(np.arange(top, top + side), 0, picture.shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, picture.shape[1] - 1)
    return as_face(picture[rows[:, None], columns], size)
