"""Draw boxes, expressions and probabilities onto pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing, require_writable
from ferplus_keras.inference.predictor import Prediction
from ferplus_keras.lazy import cv2

COLOURS = ("9e9e9e", "ffc107", "ff7043", "4285f4", "db4437", "7cb342", "ab47bc", "00acc1")
"""RGB of each class, in order; from the first again if there are more classes."""


def annotate(image: np.ndarray, faces: Sequence[Prediction]) -> np.ndarray:
    """Return a copy of a picture, (h, w, 3) uint8 RGB, with boxes and labels of its faces."""
    image = image.copy()
    thick = max(round(max(image.shape[:2]) / 400), 1)
    labels = []
    for face in faces:
        number = list(face.probabilities).index(face.label) % len(COLOURS)
        colour = tuple(bytes.fromhex(COLOURS[number]))
        x, y, width, height = map(round, face.box)
        cv2.rectangle(image, (x, y), (x + width, y + height), colour, thick)
        labels.append(((x, y, width), f"{face.label} {face.confidence:.0%}", colour))
    for label in labels:  # on top of all boxes
        _label(image, *label)
    return image


def _label(
    image: np.ndarray, edge: tuple[int, int, int], text: str, colour: tuple[int, int, int]
) -> None:
    """Write at a box's upper edge, inside the picture, as wide as the box if that is legible."""
    x, y, width = edge
    font = cv2.FONT_HERSHEY_SIMPLEX
    (wide, _), _ = cv2.getTextSize(text, font, 1, 2)
    scale = float(np.clip(width / wide, 0.4, max(image.shape[:2]) / 600))
    thick = max(round(2 * scale), 1)
    (wide, high), below = cv2.getTextSize(text, font, scale, thick)
    left = min(max(x, 0), max(image.shape[1] - wide, 0))
    base = y - below if y - high - 2 * below >= 0 else max(y, 0) + high + below
    cv2.rectangle(image, (left, base - high - below), (left + wide, base + below), colour, -1)
    cv2.putText(image, text, (left, base), font, scale, (0, 0, 0), thick, cv2.LINE_AA)


def write_picture(image: np.ndarray, path: Path) -> None:
    """Write a picture (h, w, 3) uint8 RGB in the format of its suffix; make its folder if need be.

    Raises:
        InputError: it cannot be written.
    """
    require_writable(path.parent, "--save_dir")
    good, content = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not good:
        raise InputError(f"OpenCV cannot write the picture {path}")
    with replacing(path) as temporary:
        temporary.write_bytes(content)
