"""From pictures to expressions, in one object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.data.face_image import as_face, read_picture
from ferplus_keras.data.views import VIEWS
from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.errors import InputError, unknown
from ferplus_keras.inference.faces import MARGIN, Box, crop_face, find_detector
from ferplus_keras.inference.runtimes import load_classifier

BUNDLED = Path(__file__).with_name("compact_fer.onnx")
"""The model that comes with the package; docs/model_card.md tells about it."""


@dataclass(frozen=True)
class Prediction:
    """What one face expresses.

    Attributes:
        box: x, y, width, height of the face in pixels of its picture; may reach over its edge.
        label: the most probable class.
        confidence: its probability, 0 to 1.
        probabilities: every class, in the model's order -> probability.
    """

    box: Box
    label: str
    confidence: float
    probabilities: dict[str, float]


class Predictor:
    """Find the faces of pictures and say what they express.

    Args:
        checkpoint_path: a .keras checkpoint, or an export (.onnx, .tflite, .xml, SavedModel
            folder); None is the bundled model. An .onnx file needs ONNX Runtime only, no Keras.
        faces: row of `faces.DETECTORS`; "whole" takes each picture as one face, and squeezes
            what is not square, as pictures to train on.
        faces_weights: the file that the detector "yunet" needs.
        margin: how much larger than the detected box the face is cut out, as a share of its side.
        tta: row of `views.VIEWS`, over which the probabilities are averaged.
        batch_size: faces the network sees at once.

    Raises:
        UsageError: an unknown detector or kind of views.
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
        if tta not in VIEWS:
            raise unknown("kind of views", tta, VIEWS)
        if checkpoint_path is None and not BUNDLED.is_file():
            raise InputError(
                f"the model that comes with the package is missing ({BUNDLED}): install it anew, "
                "or name another model as checkpoint_path (--checkpoint_path)"
            )
        self.whole = faces == "whole"
        self.detect = find_detector(faces, faces_weights)  # first: it may choose Keras' backend
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
            images: one picture or several: paths, Pillow images, or arrays as
                `face_image.read_picture` takes them; an array (n, h, w) or (n, h, w, 3) is a
                batch. One picture is held in memory at a time.

        Returns:
            One list a picture; empty where no face was found.

        Raises:
            InputError: a picture cannot be read; see `face_image.read_picture`.
        """
        return self.judge([self.find(read_picture(image)) for image in _each(images)])

    def find(self, picture: np.ndarray) -> tuple[list[Box], np.ndarray]:
        """Return where the faces of a picture are, and what the network sees of them.

        Args:
            picture: (h, w, 3) uint8, RGB.

        Returns:
            n boxes, most confidently detected first, and (n, 48, 48) uint8 grey levels.
        """
        faces = self.detect(picture)
        crops = [self.crop(picture, face.box, face.tilt) for face in faces]
        boxes = [face.box for face in faces]
        return boxes, np.array(crops, np.uint8).reshape(-1, FACE_SIZE, FACE_SIZE)

    def crop(self, picture: np.ndarray, box: Box, tilt: float = 0.0) -> np.ndarray:
        """Return what the network sees of a face in a picture: (48, 48) uint8 grey levels."""
        return as_face(picture) if self.whole else crop_face(picture, box, self.margin, tilt)

    def judge(self, found: Sequence[tuple[list[Box], np.ndarray]]) -> list[list[Prediction]]:
        """Return what the faces that `find` found in several pictures express."""
        answers = self.probabilities(np.concatenate([crops for _, crops in found])) if found else ()
        rows = iter(answers)
        return [[self.describe(box, next(rows)) for box in boxes] for boxes, _ in found]

    def probabilities(self, faces: np.ndarray) -> np.ndarray:
        """Return (n, C) float32 probabilities of faces that are cut out already.

        Args:
            faces: (n, 48, 48) uint8 grey levels.

        Raises:
            InputError: the faces have another shape or type.
        """
        if faces.dtype != np.uint8 or faces.shape[1:] != (FACE_SIZE, FACE_SIZE):
            raise InputError(
                f"expected faces (n, 48, 48) uint8, got {faces.shape} {faces.dtype}; "
                "call the predictor itself on pictures of any size"
            )
        found = np.empty((len(faces), len(self.class_names)), np.float32)
        for begin in range(0, len(faces), self.batch_size):
            views = self.views(faces[begin : begin + self.batch_size])
            answers = [self.classifier.probabilities(view) for view in views]
            found[begin : begin + self.batch_size] = np.mean(answers, axis=0)
        return found

    def describe(self, box: Sequence[float], probabilities: np.ndarray) -> Prediction:
        """Return the prediction of one face from its (C,) probabilities."""
        best = int(probabilities.argmax())
        return Prediction(
            tuple(box),
            self.class_names[best],
            float(probabilities[best]),
            dict(zip(self.class_names, map(float, probabilities), strict=True)),
        )


def _each(images: Any) -> Iterator:
    """Yield the pictures of what may be one picture or several."""
    one = isinstance(images, str | Path) or hasattr(images, "getexif")
    if isinstance(images, np.ndarray):
        one = images.ndim == 2 or (images.ndim == 3 and images.shape[2] in (1, 3, 4))
    yield from [images] if one else images
