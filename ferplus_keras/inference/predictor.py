"""From pictures to expressions, in one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.data.views import VIEWS
from ferplus_keras.errors import InputError
from ferplus_keras.inference.faces import MARGIN, crop_face, find_detector
from ferplus_keras.inference.images import read_image
from ferplus_keras.inference.runtimes import load_classifier

BUNDLED = Path(__file__).with_name("compact_fer.onnx")
"""The model that comes with the package; docs/model_card.md tells about it."""


@dataclass(frozen=True)
class Prediction:
    """What one face expresses.

    Attributes:
        box: x, y, width, height of the face in pixels of its picture.
        label: the most probable class.
        confidence: its probability, 0 to 1.
        probabilities: every class, in the model's order -> probability.
    """

    box: tuple[float, float, float, float]
    label: str
    confidence: float
    probabilities: dict[str, float]


class Predictor:
    """Find the faces of pictures and say what they express.

    Args:
        checkpoint_path: a .keras checkpoint, or an export (.onnx, .tflite, .xml, SavedModel
            folder); None is the bundled model. An .onnx file needs ONNX Runtime only, no Keras.
        faces: row of `faces.DETECTORS`; "whole" takes each picture as one face.
        faces_weights: the file that the detector "yunet" needs.
        margin: how much larger than the detected box the face is cut out, as a share of its side.
        tta: row of `views.VIEWS`, over which the probabilities are averaged.
        batch_size: faces the network sees at once.

    Raises:
        UsageError: an unknown detector.
        InputError: the model or the detector cannot be used.

    Example:
        >>> predictor = Predictor(faces="whole")  # doctest: +SKIP
        >>> [[face]] = predictor(["face.png"])  # doctest: +SKIP
        >>> face.label, face.confidence  # doctest: +SKIP
        ('happiness', 0.97)
    """

    def __init__(
        self,
        checkpoint_path: str | Path | None = None,
        *,
        faces: str = "mtcnn",
        faces_weights: str | Path | None = None,
        margin: float = MARGIN,
        tta: str = "none",
        batch_size: int = 64,
    ) -> None:
        self.detect = find_detector(faces, faces_weights)
        self.classifier = load_classifier(checkpoint_path or BUNDLED)
        self.margin = margin
        self.views = VIEWS[tta]
        self.batch_size = batch_size

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self.classifier.info.class_names

    def __call__(self, images: Any) -> list[list[Prediction]]:
        """Return the faces of each picture, most confidently detected first.

        Args:
            images: one picture or several: paths, PIL images, or arrays as `images.read_image`
                takes them; an array (n, h, w) or (n, h, w, 3) with n other than a picture's height
                is a batch.

        Returns:
            One list a picture; empty where no face was found.

        Raises:
            InputError: a picture cannot be read; see `images.read_image`.
        """
        pictures = [read_image(image) for image in _each(images)]
        boxes = [[face.box for face in self.detect(picture)] for picture in pictures]
        crops = [
            crop_face(picture, box, self.margin if self.detect is not None else 0)
            for picture, found in zip(pictures, boxes, strict=True)
            for box in found
        ]
        answers = iter(self.probabilities(np.array(crops)) if crops else ())
        return [[self.describe(box, next(answers)) for box in found] for found in boxes]

    def probabilities(self, faces: np.ndarray) -> np.ndarray:
        """Return (n, C) float32 probabilities of faces that are cut out already.

        Args:
            faces: (n, 48, 48) uint8 grey levels.

        Raises:
            InputError: the faces have another shape or type.
        """
        if faces.dtype != np.uint8 or faces.ndim != 3 or faces.shape[1:] != (48, 48):
            raise InputError(
                f"expected faces (n, 48, 48) uint8, got {faces.shape} {faces.dtype}; "
                "call the predictor itself on pictures of any size"
            )
        found = []
        for begin in range(0, len(faces), self.batch_size):
            views = self.views(faces[begin : begin + self.batch_size])
            found.append(np.mean([self.classifier.probabilities(view) for view in views], axis=0))
        return np.concatenate(found).astype(np.float32)

    def describe(self, box: Sequence[float], probabilities: np.ndarray) -> Prediction:
        """Return the prediction of one face from its (C,) probabilities."""
        best = int(probabilities.argmax())
        return Prediction(
            tuple(box),
            self.class_names[best],
            float(probabilities[best]),
            dict(zip(self.class_names, map(float, probabilities), strict=True)),
        )


def _each(images: Any) -> list:
    """Return the pictures of what may be one picture or several."""
    if isinstance(images, str | Path) or hasattr(images, "getexif"):
        return [images]
    if isinstance(images, np.ndarray):
        one = images.ndim == 2 or (images.ndim == 3 and images.shape[2] in (1, 3, 4))
        return [images] if one else list(images)
    return list(images)
