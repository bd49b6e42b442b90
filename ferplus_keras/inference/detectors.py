"""Find the faces of a picture: YuNet, MTCNN, or the picture as one face."""

from __future__ import annotations

import functools
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ferplus_keras.errors import InputError, UsageError, one_line
from ferplus_keras.inference.crop import LONGEST_SIDE, Box, DetectedFace, middle_of, shrink
from ferplus_keras.inference.weights import find_yunet
from ferplus_keras.registry import Registry

CLOSE_UP = 480
"""Side to which a picture is also made smaller: YuNet takes parts of very large faces for faces."""

Detector = Callable[[np.ndarray], list[DetectedFace]]
"""From a picture (h, w, 3) uint8 RGB to its faces, most confident first."""

DETECTORS: Registry[Callable[[str | Path | None], Detector]] = Registry("face detector")
"""Face detectors by name: from a weights file, or None, to the detector, ready to run."""


def find_detector(detector: str | Callable, weights: str | Path | None = None) -> Detector:
    """Return a detector that is ready to run and safe to share between threads.

    Args:
        detector: row of `DETECTORS`, or any function from a picture (h, w, 3) uint8 RGB to its
            faces: `DetectedFace`s or boxes (x, y, width, height). A function of your own must
            itself be safe between threads where several share it.
        weights: YuNet's file; None finds or fetches it.

    Raises:
        UsageError: there is no such detector.
        InputError: what it needs is missing.
    """
    if callable(detector):
        return functools.partial(_own, detector)
    if not isinstance(detector, str):
        raise UsageError(f"expected a detector's name or a function, got {detector!r}")
    return DETECTORS[detector](weights)


def _own(detector: Callable, image: np.ndarray) -> list[DetectedFace]:
    """Return what somebody's detector finds, boxes made faces."""
    found = detector(image)
    try:
        faces = [
            face if hasattr(face, "box") else DetectedFace(tuple(map(float, face)))
            for face in found
        ]
        if all(len(face.box) == 4 for face in faces):
            return faces
    except (TypeError, ValueError):
        pass
    raise InputError(
        f"expected the detector to return boxes (x, y, width, height), got {found!r:.80}"
    )


@DETECTORS.register("auto")
def _auto(weights: str | Path | None) -> Detector:
    """YuNet, or MTCNN where YuNet's file cannot be had."""
    try:
        return YuNet(weights)
    except InputError as error:
        if weights:
            raise
        try:
            detector = _mtcnn(None)
        except InputError as second:
            raise InputError(f"{error}; and {second}; or choose --faces whole") from None
        say_once(f"note: detecting faces by MTCNN, which finds fewer: {error}")
        return detector


@DETECTORS.register("yunet")
class YuNet:
    """YuNet (Wu et al. 2023) in OpenCV.

    There are as many networks as threads use it at the same time.

    Args:
        weights: any file that `cv2.FaceDetectorYN` reads; None finds or fetches YuNet's.

    Raises:
        InputError: the file is missing or of another kind.
    """

    _creating = threading.Lock()

    def __init__(self, weights: str | Path | None) -> None:
        self._path = Path(weights) if weights else find_yunet()
        try:
            self._file = np.frombuffer(self._path.read_bytes(), np.uint8)
        except OSError as error:
            raise InputError(f"cannot read YuNet's file {self._path}: {error.strerror}") from None
        self._idle = deque([self._create()])

    def __call__(self, image: np.ndarray) -> list[DetectedFace]:
        """Return the faces of a picture (h, w, 3) uint8 RGB, most confident first."""
        faces = self._detect(image, LONGEST_SIDE)
        if max(image.shape[:2]) > CLOSE_UP:
            least = max(image.shape[:2]) / 4
            large = [face for face in self._detect(image, CLOSE_UP) if max(face.box[2:]) > least]
            faces = large + [
                face for face in faces if not any(_centre_in(face.box, each.box) for each in large)
            ]
        return sorted(faces, key=lambda face: -face.score)

    def _create(self):
        import cv2

        log = getattr(cv2.utils, "logging", cv2)  # OpenCV 5 warns at every start
        with self._creating:
            level = log.getLogLevel()
            log.setLogLevel(0)
            try:
                return cv2.FaceDetectorYN.create(
                    "onnx", self._file, np.empty(0, np.uint8), (320, 320), 0.7
                )
            except cv2.error as error:
                reason = one_line(error, 150)
                raise InputError(f"OpenCV cannot read {self._path}: {reason}") from None
            finally:
                log.setLogLevel(level)

    def _detect(self, image: np.ndarray, longest_side: int) -> list[DetectedFace]:
        import cv2

        small, scale = shrink(image, longest_side)
        try:
            network = self._idle.pop()
        except IndexError:
            network = self._create()
        network.setInputSize((small.shape[1], small.shape[0]))
        _, rows = network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        self._idle.append(network)
        faces = []
        for row in () if rows is None else rows:
            eyes = row[4:8].reshape(2, 2)
            eyes = eyes[np.argsort(eyes[:, 0])]
            faces.append(DetectedFace(row[:4], float(row[-1]), eyes).enlarged(scale))
        return faces


def _centre_in(box: Box, other: Box) -> bool:
    x, y = np.subtract(middle_of(box), other[:2])
    return 0 <= x <= other[2] and 0 <= y <= other[3]


@DETECTORS.register("mtcnn")
def _mtcnn(weights: str | Path | None) -> Detector:
    """MTCNN (Zhang et al. 2016) on ONNX Runtime."""
    from ferplus_keras.inference.mtcnn import MTCNN

    return MTCNN()


@DETECTORS.register("whole")
def _whole(weights: str | Path | None) -> Detector:
    """The whole picture as one face."""
    return lambda image: [DetectedFace((0, 0, image.shape[1], image.shape[0]))]


@functools.cache
def say_once(text: str) -> None:
    """Print a line on standard error, once per process."""
    print(text, file=sys.stderr)
