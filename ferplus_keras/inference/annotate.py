"""Draw boxes, expressions and probability bars onto pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
    size = max(image.shape[:2])
    thick = max(round(size / 400), 1)
    scale = max(size / 1200, 0.4)
    for face in faces:
        x, y, width, height = (round(value) for value in face.box)
        colour = _COLOURS[list(face.probabilities).index(face.label) % len(_COLOURS)]
        cv2.rectangle(image, (x, y), (x + width, y + height), colour, thick)
        text = f"{face.label} {face.confidence:.0%}"
        (wide, high), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
        left = min(max(x, 0), max(image.shape[1] - wide, 0))
        base = y - below - thick if y - high - 2 * below > 0 else min(y, 0) + high + below
        base = max(base, high + below)
        corner = (left, base - high - below), (left + wide, base + below)
        cv2.rectangle(image, *corner, colour, cv2.FILLED)
        dark = sum(colour) > 380
        cv2.putText(
            image,
            text,
            (left, base),
            cv2.FONT_HERSHEY_SIMPLEX,
            scale,
            (0, 0, 0) if dark else (255, 255, 255),
            thick,
            cv2.LINE_AA,
        )
    return image
