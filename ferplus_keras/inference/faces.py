"""Find faces in a picture and cut them out as FER2013 does."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.errors import InputError, unknown

MARGIN = 0.2
"""How much larger than the detected box the square is that is cut out, as a share of its side.
Chosen by `benchmarks/face_crop.py` on validation faces."""

LONGEST_SIDE = 1280
"""Pictures with a longer side are made smaller for detection, in pixels."""


class FoundFace(NamedTuple):
    """A detected face.

    Attributes:
        box: x, y, width, height in pixels of the picture; may reach over its edge.
        score: the detector's confidence, 0 to 1.
        eyes: (2, 2) x and y of the eye that is left in the picture and of the other one, or None.
    """

    box: tuple[float, float, float, float]
    score: float
    eyes: np.ndarray | None


Detector = Callable[[np.ndarray], list[FoundFace]]
"""From a picture (h, w, 3) uint8 RGB to its faces, most confident first."""


def find_detector(name: str, weights: str | Path | None = None) -> Detector:
    """Return a detector, its network loaded when it is first used.

    Args:
        name: row of `DETECTORS`.
        weights: the file that the detector `yunet` needs.

    Raises:
        UsageError: there is no such detector.
        InputError: what it needs is missing.
    """
    if name not in DETECTORS:
        raise unknown("face detector", name, DETECTORS)
    return DETECTORS[name](weights)


def crop_face(image: np.ndarray, box: tuple, margin: float = MARGIN) -> np.ndarray:
    """Cut a square around a box and make it a face as the networks take it.

    Where the square reaches over the picture, its edge is repeated.

    Args:
        image: (h, w, 3) uint8, RGB.
        box: x, y, width, height in pixels.
        margin: how much larger than the box's longer side the square is, as a share of it.

    Returns:
        (48, 48) uint8 grey levels.
    """
    import cv2

    x, y, width, height = box
    side = max(round(max(width, height) * (1 + margin)), 1)
    left, top = round(x + (width - side) / 2), round(y + (height - side) / 2)
    rows = np.clip(np.arange(top, top + side), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, image.shape[1] - 1)
    grey = cv2.cvtColor(image[rows[:, None], columns], cv2.COLOR_RGB2GRAY)
    method = cv2.INTER_AREA if side >= FACE_SIZE else cv2.INTER_LINEAR
    return cv2.resize(grey, (FACE_SIZE, FACE_SIZE), interpolation=method)


def _whole(weights: str | Path | None) -> Detector:
    """Take the whole picture as one face."""
    return lambda image: [FoundFace((0, 0, image.shape[1], image.shape[0]), 1.0, None)]


def _mtcnn(weights: str | Path | None) -> Detector:
    """Detect by MTCNN (Zhang et al. 2016), whose weights come with its package."""
    for module, command in (("mtcnn", "faces"), ("tensorflow", "tensorflow-cpu")):
        if not find_spec(module):
            raise InputError(
                f"the face detector mtcnn needs {module}: pip install 'ferplus-keras[{command}]', "
                "or use --faces yunet with its file, or --faces whole for pictures that are faces"
            )
    loaded: list = []

    def detect(image: np.ndarray) -> list[FoundFace]:
        if not loaded:
            from mtcnn import MTCNN

            loaded.append(MTCNN(device="CPU:0"))
        small, scale = _shrink(image)
        faces = []
        for face in loaded[0].detect_faces(small) or ():
            eyes = np.array([face["keypoints"][name] for name in ("left_eye", "right_eye")])
            box = tuple(float(value) * scale for value in face["box"])
            faces.append(FoundFace(box, float(face["confidence"]), _in_order(eyes * scale)))
        return sorted(faces, key=lambda face: -face.score)

    return detect


def _yunet(weights: str | Path | None) -> Detector:
    """Detect by YuNet (Wu et al. 2023) in OpenCV, which needs its file."""
    path = Path(weights) if weights else None
    if path is None or not path.is_file():
        raise InputError(
            "the face detector yunet needs face_detection_yunet_2023mar.onnx of OpenCV's model zoo "
            f"(github.com/opencv/opencv_zoo): name it with --faces_weights; got {weights}"
        )
    import cv2

    try:
        network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), 0.7)
    except cv2.error as error:
        raise InputError(
            f"OpenCV cannot read {path}: {' '.join(str(error).split())[:150]}"
        ) from None

    def detect(image: np.ndarray) -> list[FoundFace]:
        small, scale = _shrink(image)
        network.setInputSize((small.shape[1], small.shape[0]))
        _, rows = network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        faces = [
            FoundFace(
                tuple(float(value) * scale for value in row[:4]),
                float(row[-1]),
                _in_order(row[4:8].reshape(2, 2) * scale),
            )
            for row in (() if rows is None else rows)
        ]
        return sorted(faces, key=lambda face: -face.score)

    return detect


def _in_order(eyes: np.ndarray) -> np.ndarray:
    """Return the eye first that is left in the picture."""
    return eyes[np.argsort(eyes[:, 0])]


def _shrink(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the picture no larger than detection needs, and the factor back to its own size."""
    import cv2

    scale = max(image.shape[:2]) / LONGEST_SIDE
    if scale <= 1:
        return image, 1.0
    size = (round(image.shape[1] / scale), round(image.shape[0] / scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


DETECTORS: dict[str, Callable[[str | Path | None], Detector]] = {
    "mtcnn": _mtcnn,
    "yunet": _yunet,
    "whole": _whole,
}
"""Every face detector by name."""
