"""Detected faces: where they are, and how they are cut out as the faces of FER2013 are."""

from typing import NamedTuple, Self

import numpy as np

from ferplus_keras.data.pictures import as_face
from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.lazy import cv2

LONGEST_SIDE = 1280  # pictures with a longer side are made smaller for detection, in pixels
MARGIN = 0.0  # how much larger than FER2013's frame the cut-out square is, as a share of its side
FRAMES = (0.0, -0.06, 0.06)  # added to the margin: a face is cut out once for each

# FER2013's frame around a detected box, fitted by benchmarks/face_crop.py on training faces. Its
# side, shares of the box's height and width, is 8 % less than fitted: too large a frame costs more.
# Its middle is below the box's by a share of the height, and of how far the eyes are below it.
HEIGHT_SHARE, WIDTH_SHARE = 0.405, 0.616
EYES_LEVEL, EYES_SHARE = 0.037, 0.31

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels of the picture; may reach over its edge."""


class DetectedFace(NamedTuple):
    """A detected face."""

    box: Box
    score: float = 1.0  # the detector's confidence, 0 to 1
    eyes: np.ndarray | None = None  # (2, 2) x and y of the eye on the picture's left, and the other

    @property
    def tilt(self) -> float:
        """Angle of the line through the eyes in degrees, positive clockwise."""
        if self.eyes is None:
            return 0.0
        across, down = self.eyes[1] - self.eyes[0]
        return float(np.degrees(np.arctan2(down, across)))

    def enlarged(self, scale: float) -> Self:
        """Return the same face in a picture `scale` times as large."""
        eyes = None if self.eyes is None else self.eyes * scale
        return self._replace(box=tuple(float(value) * scale for value in self.box), eyes=eyes)


def overlap(one: Box, other: Box) -> float:
    """Return the intersection of two boxes over their union."""
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(wide, 0) * max(high, 0)
    return common / max(one[2] * one[3] + other[2] * other[3] - common, 1e-9)


def middle_of(box: Box) -> tuple[float, float]:
    """Return x and y of a box's middle."""
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def shrink(image: np.ndarray, longest_side: int) -> tuple[np.ndarray, float]:
    """Return a picture with at most this longest side, and the factor back to its own size."""
    scale = max(image.shape[:2]) / longest_side
    if scale <= 1:
        return image, 1.0
    size = (max(round(image.shape[1] / scale), 1), max(round(image.shape[0] / scale), 1))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


def crop_face(
    picture: np.ndarray,
    face: DetectedFace,
    margin: float = MARGIN,
    shape: tuple[int, ...] = (FACE_SIZE, FACE_SIZE),
) -> np.ndarray:
    """Cut out a face in the frame that FER2013 would have for it, turned until its eyes are level.

    A face without eyes is cut out as a square as wide as the longer side of its box. Where the
    square reaches over the picture, its edge is repeated.

    Args:
        picture: (h, w, 3) uint8, RGB.
        margin: how much larger the square is, as a share of its side.
        shape: (s, s) for grey levels, (s, s, 3) for RGB.

    Returns:
        The face in that shape, uint8.
    """
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
    matrix = cv2.getRotationMatrix2D(tuple(map(float, middle)), face.tilt, 1)
    matrix[:, 2] += side / 2 - middle
    if not face.tilt:  # whole pixels, which are copied as they are
        matrix[:, 2] = np.rint(matrix[:, 2])
    square = cv2.warpAffine(picture, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return as_face(square, shape)
