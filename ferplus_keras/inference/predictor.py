"""From pictures to expressions, in one object."""

from __future__ import annotations

import io
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.classifier import Classifier
from ferplus_keras.data.augment import VIEWS
from ferplus_keras.data.pictures import as_face, read_picture
from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.errors import InputError, unknown
from ferplus_keras.inference.crop import MARGIN, crop_face
from ferplus_keras.inference.detectors import Box, DetectedFace, find_detector

BUNDLED = Path(__file__).with_name("compact_fer.onnx")
"""The model that comes with the package, described in docs/model_card.md."""


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

    It is ready when it is built. Threads may share it, and it can be pickled. After a fork it opens
    its files anew at the first call; a Keras network cannot be used after a fork and says so.

    Args:
        checkpoint_path: a .keras checkpoint, an export (.onnx, .tflite, .xml, SavedModel folder), a
            run folder, or an open `Classifier`; None is the bundled model. An .onnx file needs
            ONNX Runtime only, no Keras.
        detector: row of `detectors.DETECTORS`, or a function from a picture (h, w, 3) uint8 RGB to
            its faces or boxes. "auto" is YuNet, or MTCNN where YuNet's file cannot be had;
            "whole" takes each picture as one face and squeezes what is not square, as pictures
            to train on.
        faces: older name of `detector`.
        faces_weights: YuNet's file; None finds or fetches it.
        margin: how much larger than the detected box the face is cut out, as a share of its side.
        tta: row of `VIEWS`, over which the probabilities are averaged.
        batch_size: faces the network sees at once.

    Raises:
        UsageError: an unknown detector or kind of views.
        InputError: the model or the detector cannot be used.

    Example:
        >>> predictor = Predictor(detector="whole")  # doctest: +SKIP
        >>> [[face]] = predictor("face.png")  # doctest: +SKIP
        >>> face.label, face.confidence  # doctest: +SKIP
        ('happiness', 0.97)
    """

    def __init__(
        self,
        checkpoint_path: str | Path | Classifier | None = None,
        *,
        detector: str | Callable[[np.ndarray], Iterable] = "auto",
        faces: str | None = None,
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
        self._detector = detector if faces is None else faces
        self._faces_weights = faces_weights
        self.whole = self._detector == "whole"
        self.margin = margin
        self.tta = tta
        self.batch_size = batch_size
        self.detect = find_detector(self._detector, faces_weights)
        if isinstance(checkpoint_path, Classifier):
            self.classifier = checkpoint_path
        else:
            self.classifier = Classifier.open(checkpoint_path or BUNDLED)
        self._turn = threading.Lock()  # of the classifier: few runtimes serve several threads
        self._forked = False
        if hasattr(os, "register_at_fork"):
            this = weakref.ref(self)
            os.register_at_fork(after_in_child=lambda: this() and this()._note_fork())

    def _note_fork(self) -> None:
        self._turn = threading.Lock()  # a thread of the other process may hold the old one
        self._forked = True

    def _survive_fork(self) -> None:
        """Open everything anew where this process was forked: its threads did not come along."""
        with self._turn:
            if not self._forked:
                return
            path = self.classifier.path
            if path is None or path.suffix not in _SURVIVES_FORK:
                raise InputError(
                    f"{path or 'a network from memory'} cannot be used in a forked process; build "
                    "the Predictor in each process, or export the network to ONNX"
                )
            self.classifier = Classifier.open(path).arranged(self.class_names)
            self.detect = find_detector(self._detector, self._faces_weights)
            self._forked = False

    def __getstate__(self) -> dict[str, Any]:
        """Return the arguments from which it is built again."""
        if self.classifier.path is None:
            raise InputError("a Predictor of a network from memory cannot be pickled")
        return {
            "checkpoint_path": self.classifier.path,
            "detector": self._detector,
            "faces_weights": self._faces_weights,
            "margin": self.margin,
            "tta": self.tta,
            "batch_size": self.batch_size,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build it from the arguments that were pickled."""
        self.__init__(**state)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self.classifier.class_names

    def warm_up(self) -> None:
        """Run detector and network once, so that the first answer is as fast as the next."""
        self.find(np.zeros((64, 64, 3), np.uint8))
        self.probabilities(np.zeros((1, FACE_SIZE, FACE_SIZE), np.uint8))

    def __call__(self, images: Any) -> list[list[Prediction]]:
        """Return the faces of each picture, most confidently detected first.

        Args:
            images: one picture or several: paths, the bytes of files, open files, Pillow images,
                or arrays and tensors (h, w), (h, w, 3) or (h, w, 4) as `read_picture` takes
                them. An array (n, h, w) or (n, h, w, 3) is a batch. One picture is held in memory
                at a time.

        Returns:
            One list per picture; empty where no face was found.

        Raises:
            InputError: a picture cannot be read, or what is given may mean several things.
        """
        return self.classify([self.find(read_picture(image)) for image in _each(images)])

    def find(self, picture: np.ndarray) -> tuple[list[Box], np.ndarray]:
        """Return where the faces of a picture are, and what the network sees of them.

        Args:
            picture: (h, w, 3) uint8, RGB.

        Returns:
            n boxes, most confidently detected first, and (n, 48, 48) uint8 grey levels.
        """
        if self._forked:
            self._survive_fork()
        faces = self.detect(picture)
        crops = [self.crop(picture, face) for face in faces]
        boxes = [face.box for face in faces]
        return boxes, np.array(crops, np.uint8).reshape(-1, FACE_SIZE, FACE_SIZE)

    def crop(self, picture: np.ndarray, face: DetectedFace) -> np.ndarray:
        """Return what the network sees of a face in a picture: (48, 48) uint8 grey levels."""
        return as_face(picture) if self.whole else crop_face(picture, face, self.margin)

    def classify(self, found: Sequence[tuple[list[Box], np.ndarray]]) -> list[list[Prediction]]:
        """Return what the faces express that `find` found in several pictures."""
        faces = [faces for _, faces in found]
        rows = iter(self.probabilities(np.concatenate(faces)) if faces else ())
        return [[self.describe(box, next(rows)) for box in boxes] for boxes, _ in found]

    def probabilities(self, faces: np.ndarray) -> np.ndarray:
        """Return (n, C) float32 probabilities of faces that are cut out already.

        Args:
            faces: (n, 48, 48) uint8 grey levels.

        Raises:
            InputError: the faces have another shape or type.
        """
        if self._forked:
            self._survive_fork()
        if faces.dtype != np.uint8 or faces.shape[1:] != (FACE_SIZE, FACE_SIZE):
            raise InputError(
                f"expected faces (n, 48, 48) uint8, got {faces.shape} {faces.dtype}; "
                "call the predictor itself on pictures of any size"
            )
        with self._turn:
            return self.classifier.probabilities(
                faces, batch_size=self.batch_size, tta=self.tta
            )

    def describe(self, box: Sequence[float], probabilities: np.ndarray) -> Prediction:
        """Return the prediction of one face from its (C,) probabilities."""
        best = int(probabilities.argmax())
        return Prediction(
            tuple(box),
            self.class_names[best],
            float(probabilities[best]),
            dict(zip(self.class_names, map(float, probabilities), strict=True)),
        )


_SURVIVES_FORK = (".onnx", ".tflite")
"""Endings of the models that can be opened anew in a forked process."""

_EXPECTED = "expected a picture: a path, the bytes of a file, an open file, a Pillow image or an array"


def _each(images: Any) -> Iterator:
    """Yield the pictures of what may be one picture or several.

    Raises:
        InputError: it is neither, or may be either.
    """
    if isinstance(images, str | os.PathLike | bytes | bytearray | memoryview) or any(
        hasattr(images, name) for name in ("read", "getexif")
    ):
        yield _one(images)
    elif hasattr(images, "__array__"):
        array = _array(images)
        if array.ndim == 3 and array.shape[0] in (3, 4) and array.shape[2] not in (1, 3, 4):
            raise InputError(
                f"an array {array.shape} may be {array.shape[0]} grey pictures, or one picture "
                "with its channels first; pass list(array), or array.transpose(1, 2, 0)"
            )
        one = array.ndim < 3 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
        yield from [array] if one else array
    elif isinstance(images, Mapping) or not isinstance(images, Iterable):
        raise InputError(f"{_EXPECTED}, or several of these; got {type(images).__name__}")
    else:
        yield from map(_one, images)


def _one(image: Any) -> Any:
    """Return a picture as `read_picture` takes it, or refuse what is none."""
    if isinstance(image, str):
        if len(image) > 1000 or image.startswith("data:"):
            raise InputError(
                f"{_EXPECTED}; got text of {len(image)} characters that is no path: decode base64 "
                "by base64.b64decode and pass the bytes"
            )
        return image
    if isinstance(image, os.PathLike):
        return Path(image)
    if isinstance(image, bytes | bytearray | memoryview):
        return io.BytesIO(image)
    if hasattr(image, "read") or hasattr(image, "getexif"):
        return image
    if hasattr(image, "__array__"):
        return _array(image)
    raise InputError(f"{_EXPECTED}; got {type(image).__name__}")


def _array(image: Any) -> np.ndarray:
    try:
        array = np.asarray(image)
    except Exception as error:  # of tensors on a GPU, or symbolic ones
        reason = " ".join(str(error).split())[:150]
        raise InputError(f"cannot make an array of {type(image).__name__}: {reason}") from None
    if array.dtype.kind not in "buif":
        raise InputError(f"{_EXPECTED}; got an array of {array.dtype}")
    return array
