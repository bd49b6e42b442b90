"""A map laid over a face."""

import numpy as np

FOR, AGAINST = (0.85, 0.25, 0.0), (0.0, 0.35, 0.85)
"""Red for what speaks for a class, blue for what speaks against it: colours that the colour-blind
distinguish. A map without signs is drawn in the first."""

OPACITY = 0.85
"""Of the strongest colour: some of the face still shows."""

BLACK = 0.25
"""Grey, 0-1, as which black is drawn under a map: colours would drown in dark faces."""

FULL_COLOUR = 99.0
"""Percentile of a map's absolute values that gets the strongest colour: the few pixels above it
would leave the rest pale."""


def heat_overlay(face: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Lay a map over a face.

    Args:
        face: (h, w) grey or (h, w, 3) RGB, 0-255; may be larger than the map, such as the crop
            that the face was made of.
        values: (s, s), above 0 drawn red, below 0 blue, 0 not at all.

    Returns:
        (h, w, 3) uint8, RGB.
    """
    strength = np.abs(values)
    scaled = values / (np.percentile(strength, FULL_COLOUR) or strength.max() or 1.0)
    if scaled.shape != face.shape[:2]:
        import cv2

        scaled = cv2.resize(scaled, face.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    picture = np.asarray(face, float).reshape(*face.shape[:2], -1) / 255
    opacity = OPACITY * np.minimum(np.abs(scaled), 1)[..., None]
    colour = np.where(scaled[..., None] >= 0, FOR, AGAINST)
    mixed = (1 - opacity) * (BLACK + (1 - BLACK) * picture) + opacity * colour
    return np.rint(255 * mixed).astype(np.uint8)
