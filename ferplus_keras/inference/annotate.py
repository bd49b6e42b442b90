"""Draw boxes, expressions and probabilities onto pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing
from ferplus_keras.inference.predictor import Prediction

_COLOURS = (
    (158, 158, 158),
    (255, 193, 7),
    (255, 112, 67),
    (66, 133, 244),
    (219, 68, 55),
    (124, 179, 66),
    (171, 71, 188),
    (0, 172, 193),
)
"""One a class, RGB; taken again from the first where there are more classes."""


def annotate(image: np.ndarray, faces: Sequence[Prediction]) -> np.ndarray:
    """Return a copy of a picture with each face's box, expression and probability.

    Args:
        image: (h, w, 3) uint8, RGB.
        faces: as a predictor returned them for it.
    """
    import cv2

    image = image.copy()
    boxes = [[round(value) for value in face.box] for face in faces]
    colours = [
        _COLOURS[list(face.probabilities).index(face.label) % len(_COLOURS)] for face in faces
    ]
    thick = max(round(max(image.shape[:2]) / 400), 1)
    for (x, y, width, height), colour in zip(boxes, colours, strict=True):
        cv2.rectangle(image, (x, y), (x + width, y + height), colour, thick)
    for box, colour, face in zip(boxes, colours, faces, strict=True):  # texts on top of boxes
        _label(image, box, f"{face.label} {face.confidence:.0%}", colour)
    return image


def _label(image: np.ndarray, box: list[int], text: str, colour: tuple[int, int, int]) -> None:
    """Write on a box's upper edge, as wide as the box if that can be read, inside the picture."""
    import cv2

    x, y, width, _ = box
    font = cv2.FONT_HERSHEY_SIMPLEX
    (wide, _), _ = cv2.getTextSize(text, font, 1, 2)
    scale = float(np.clip(width / wide, 0.4, max(image.shape[:2]) / 600))
    thick = max(round(2 * scale), 1)
    (wide, high), below = cv2.getTextSize(text, font, scale, thick)
    left = min(max(x, 0), max(image.shape[1] - wide, 0))
    base = y - below if y - high - 2 * below >= 0 else max(y, 0) + high + below
    cv2.rectangle(image, (left, base - high - below), (left + wide, base + below), colour, -1)
    black_is_clearer = sum(colour) > 380
    written = (0, 0, 0) if black_is_clearer else (255, 255, 255)
    cv2.putText(image, text, (left, base), font, scale, written, thick, cv2.LINE_AA)


def write_picture(image: np.ndarray, path: Path) -> None:
    """Write a picture (h, w, 3) uint8 RGB in the format of its ending, its folder made if need be.

    Raises:
        InputError: it cannot be written.
    """
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    good, content = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not good:
        raise InputError(f"OpenCV cannot write the picture {path}")
    with replacing(path) as temporary:
        temporary.write_bytes(content)
