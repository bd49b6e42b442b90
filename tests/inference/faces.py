"""Pictures whose faces are red patches, and what finds and judges them without any network."""

import dataclasses

import cv2
import numpy as np

from ferplus_keras.classifier import Classifier
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.inference.crop import DetectedFace
from tests.exports import INFO


def grounds(height: int = 240, width: int = 320) -> np.ndarray:
    """Return a picture (h, w, 3) uint8 RGB without faces."""
    rows, columns = np.mgrid[:height, :width]
    grey = (110 + 12 * np.sin(rows / 9) + 12 * np.cos(columns / 13)).astype(np.uint8)
    return np.stack([grey] * 3, axis=-1)


def head(seed: int, side: int = 60, mean: int = 120) -> np.ndarray:
    """Return (side, side, 3) uint8 that looks like no other seed's: red, for `red_patches`."""
    rough = np.random.default_rng(seed).normal(0, 40, (6, 6))
    rough += mean - rough.mean()
    grey = cv2.resize(rough, (side, side), interpolation=cv2.INTER_CUBIC)
    grey = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return np.stack([np.full_like(grey, 255), grey, grey], axis=-1)


def lay(picture: np.ndarray, pixels: np.ndarray, x: float, y: float) -> None:
    """Draw `pixels` into a picture, as far as it reaches."""
    matrix = np.float32([[1, 0, x], [0, 1, y]])
    size = picture.shape[1::-1]
    inside = cv2.warpAffine(np.ones(pixels.shape[:2], np.uint8), matrix, size) > 0
    picture[inside] = cv2.warpAffine(pixels, matrix, size)[inside]


def red_patches(image: np.ndarray) -> list[DetectedFace]:
    """Detect what is red, the largest first."""
    found = cv2.connectedComponentsWithStats((image[..., 0] > 240).astype(np.uint8))[2][1:]
    boxes = [tuple(map(float, row[:4])) for row in found if row[4] > 30]
    boxes.sort(key=lambda box: -box[2] * box[3])
    return [DetectedFace(box, 0.9, None) for box in boxes]


def by_brightness(class_names=FERPLUS_CLASSES) -> Classifier:
    """Return a classifier: the brighter the face, the later its class."""
    middles = (np.arange(len(class_names)) + 0.5) * 256 / len(class_names)

    def probabilities(faces: np.ndarray) -> np.ndarray:
        scores = np.exp(-np.abs(faces.mean(axis=(1, 2))[:, None] - middles) / 8)
        return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)

    return Classifier(dataclasses.replace(INFO, class_names=tuple(class_names)), probabilities)
