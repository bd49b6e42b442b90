"""Shim: moved to `detectors` and `crop`."""

from ferplus_keras.inference.crop import MARGIN, crop_face
from ferplus_keras.inference.detectors import (
    DETECTORS,
    Detector,
    find_detector,
    overlap,
    shrink,
)
from ferplus_keras.inference.detectors import DetectedFace as FoundFace

__all__ = [
    "DETECTORS",
    "MARGIN",
    "Detector",
    "FoundFace",
    "crop_face",
    "find_detector",
    "overlap",
    "shrink",
]
