"""Find faces in a picture and cut them out as FER2013 does."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.backend import leaving_out, load_keras
from ferplus_keras.data.face_image import as_face
from ferplus_keras.errors import InputError, unknown
from ferplus_keras.extras import require

MARGIN = 0.0
"""How much larger than the detected box the square is that is cut out, as a share of its side.
Chosen by `benchmarks/face_crop.py` on validation faces, as was to turn faces upright."""

LONGEST_SIDE = 1280
"""Pictures with a longer side are made smaller for detection, in pixels."""

SURE = 0.9
"""Smallest confidence of MTCNN that counts; its own 0.8 also takes badges for faces."""

_SMALLEST_FOR_MTCNN = 20
"""Shorter side of the smallest picture that MTCNN takes, in pixels; it looks for larger faces."""


Box = tuple[float, float, float, float]
"""x, y, width, height in pixels of the picture; may reach over its edge."""


class FoundFace(NamedTuple):
    """A detected face.

    Attributes:
        box: where it is.
        score: the detector's confidence, 0 to 1.
        eyes: (2, 2) x and y of the eye that is left in the picture and of the other one, or None.
    """

    box: Box
    score: float
    eyes: np.ndarray | None

    @property
    def tilt(self) -> float:
        """How far the line through the eyes is from level, in degrees, positive clockwise."""
        if self.eyes is None:
            return 0.0
        across, down = self.eyes[1] - self.eyes[0]
        return float(np.degrees(np.arctan2(down, across)))

    def enlarged(self, scale: float) -> FoundFace:
        """Return the face where it is in a picture so many times as large."""
        eyes = None if self.eyes is None else self.eyes * scale
        return FoundFace(tuple(value * scale for value in self.box), self.score, eyes)


Detector = Callable[[np.ndarray], list[FoundFace]]
"""From a picture (h, w, 3) uint8 RGB to its faces, most confident first."""


def find_detector(name: str, weights: str | Path | None = None) -> Detector:
    """Return a detector.

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


def crop_face(image: np.ndarray, box: Box, margin: float = MARGIN, tilt: float = 0.0) -> np.ndarray:
    """Cut a square around a box and make it a face as the networks take it.

    Where the square reaches over the picture, its edge is repeated.

    Args:
        image: (h, w, 3) uint8, RGB.
        box: x, y, width, height in pixels.
        margin: how much larger than the box's longer side the square is, as a share of it.
        tilt: as `FoundFace.tilt`; by so much the face is turned back.

    Returns:
        (48, 48) uint8 grey levels.
    """
    import cv2

    x, y, width, height = box
    side = max(round(max(width, height) * (1 + margin)), 1)
    if tilt:
        turned = cv2.getRotationMatrix2D((x + width / 2, y + height / 2), tilt, 1)
        turned[:, 2] += (side - width) / 2 - x, (side - height) / 2 - y
        return as_face(cv2.warpAffine(image, turned, (side, side), borderMode=cv2.BORDER_REPLICATE))
    left, top = round(x + (width - side) / 2), round(y + (height - side) / 2)
    rows = np.clip(np.arange(top, top + side), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, image.shape[1] - 1)
    return as_face(image[rows[:, None], columns])


def shrink(image: np.ndarray, longest_side: int) -> tuple[np.ndarray, float]:
    """Return a picture no larger than that, and the factor back to its own size."""
    import cv2

    scale = max(image.shape[:2]) / longest_side
    if scale <= 1:
        return image, 1.0
    size = (max(round(image.shape[1] / scale), 1), max(round(image.shape[0] / scale), 1))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


def _whole(weights: str | Path | None) -> Detector:
    """Take the whole picture as one face."""
    return lambda image: [FoundFace((0, 0, image.shape[1], image.shape[0]), 1.0, None)]


def _mtcnn(weights: str | Path | None) -> Detector:
    """Detect by MTCNN (Zhang et al. 2016), whose weights come with its package."""
    try:
        require(("mtcnn", "tensorflow", "keras"), "the face detector mtcnn")
    except InputError as error:
        raise InputError(
            f"{error}; or choose another with --faces: yunet (needs a file), or whole for pictures "
            "that are faces"
        ) from None
    _use_tensorflow()
    loaded: list = []

    def detect(image: np.ndarray) -> list[FoundFace]:
        if not loaded:
            loaded.append(_load_mtcnn())
        small, scale = shrink(image, LONGEST_SIDE)
        if min(small.shape[:2]) < _SMALLEST_FOR_MTCNN:
            return []
        faces = []
        for face in loaded[0].detect_faces(small, fit_to_image=False) or ():
            score = float(face["confidence"])
            if score < SURE:
                continue
            eyes = np.array([face["keypoints"][name] for name in ("left_eye", "right_eye")])
            found = FoundFace(tuple(map(float, face["box"])), score, _in_order(eyes))
            faces.append(found.enlarged(scale))
        return sorted(faces, key=lambda face: -face.score)

    return detect


def _use_tensorflow() -> None:
    """Make Keras run on TensorFlow, without which MTCNN's package fails inside."""
    keras = sys.modules.get("keras")
    backend = keras.backend.backend() if keras else os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise InputError(
            f"the face detector mtcnn needs Keras on TensorFlow, not on {backend}: leave "
            "KERAS_BACKEND unset, or choose another detector with --faces"
        )
    os.environ["KERAS_BACKEND"] = "tensorflow"


def _load_mtcnn():
    """Return MTCNN with its three networks as TensorFlow graphs: two to three times as fast."""
    load_keras()
    import tensorflow as tf
    from mtcnn import MTCNN
    from mtcnn.stages import StageONet, StagePNet, StageRNet

    def traced(stage_class: type, side: int | None):
        class Traced(stage_class):
            def __init__(self) -> None:
                super().__init__()
                pictures = tf.TensorSpec((None, side, side, 3), tf.float32)
                self._model = tf.function(self._model, input_signature=[pictures], autograph=False)

        return Traced()

    stages = [traced(StagePNet, None), traced(StageRNet, 24), traced(StageONet, 48)]
    return MTCNN(stages=stages, device="CPU:0")


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
        with leaving_out(b"setPreferableTarget"):  # a warning of OpenCV 5 at every start
            network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), 0.7)
    except cv2.error as error:
        raise InputError(
            f"OpenCV cannot read {path}: {' '.join(str(error).split())[:150]}"
        ) from None

    def detect(image: np.ndarray) -> list[FoundFace]:
        small, scale = shrink(image, LONGEST_SIDE)
        network.setInputSize((small.shape[1], small.shape[0]))
        _, rows = network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        faces = []
        for row in () if rows is None else rows:
            *box, score = map(float, (*row[:4], row[-1]))
            found = FoundFace(tuple(box), score, _in_order(row[4:8].reshape(2, 2)))
            faces.append(found.enlarged(scale))
        return sorted(faces, key=lambda face: -face.score)

    return detect


def _in_order(eyes: np.ndarray) -> np.ndarray:
    """Return the eye first that is left in the picture."""
    return eyes[np.argsort(eyes[:, 0])]


DETECTORS: dict[str, Callable[[str | Path | None], Detector]] = {
    "mtcnn": _mtcnn,
    "yunet": _yunet,
    "whole": _whole,
}
"""Every face detector by name."""
