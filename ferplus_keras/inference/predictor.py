"""From pictures to expressions, in one object."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.classifier import Classifier
from ferplus_keras.data.augment import VIEWS
from ferplus_keras.data.pictures import EXPECTED, as_face, read_picture
from ferplus_keras.errors import InputError, as_input_error
from ferplus_keras.inference.crop import FRAMES, MARGIN, Box, DetectedFace, crop_face
from ferplus_keras.inference.detectors import WHOLE, find_detector
from ferplus_keras.run import find_checkpoint

BUNDLED = Path(__file__).with_name("fast_fer.onnx")
"""The model that comes with the package, described in docs/model_card.md."""

Crops = list[np.ndarray]
"""What the network sees of faces, each (k, *face_shape) uint8 as of `Predictor.crop`."""


@dataclass(frozen=True)
class Prediction:
    """What one face expresses."""

    box: Box  # x, y, width, height in pixels of its picture; may reach over its edge
    label: str  # the most probable class
    confidence: float  # its probability, 0 to 1
    probabilities: dict[str, float]  # every class, in the model's order -> probability


class Predictor:
    """Find the faces of pictures and say what they express.

    Everything is loaded when it is built. Threads may share it, whatever the detector, and it can
    be pickled. Processes forked afterwards can use .onnx models, functions and Torch only.

    Args:
        checkpoint_path: what `find_checkpoint` finds, such as a run folder, an export (an .onnx
            file needs no Keras) or "dlib_resnet.onnx"; or an open `Classifier`; None: the bundled.
        detector: row of `detectors.DETECTORS`, or a function from a picture (h, w, 3) uint8 RGB to
            its faces or boxes. "auto" is YuNet, or MTCNN where YuNet's file cannot be had;
            "whole" takes each picture as one face and squeezes what is not square, as pictures
            to train on.
        faces_weights: YuNet's file; None finds or fetches it.
        margin: by which share of its side the crop of a face is enlarged.
        tta: row of `VIEWS`, over which the probabilities are averaged.
        batch_size: faces the network sees at once.

    Raises:
        UsageError: an unknown detector or kind of views, or weights that the detector does not use.
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
        faces_weights: str | Path | None = None,
        margin: float = MARGIN,
        tta: str = "none",
        batch_size: int = 64,
    ) -> None:
        VIEWS[tta]  # refuses an unknown one before anything is loaded
        if checkpoint_path is None and not BUNDLED.is_file():
            raise InputError(
                f"the model that comes with the package is missing ({BUNDLED}): reinstall it, "
                "or name another model as checkpoint_path (--checkpoint_path)"
            )
        opened = isinstance(checkpoint_path, Classifier)
        named = BUNDLED if checkpoint_path is None else checkpoint_path
        if hasattr(named, "predict_on_batch"):
            raise InputError("a Keras model names no classes: pass Classifier.from_model(model, …)")
        model = named if opened else find_checkpoint(named)
        weights = faces_weights and Path(faces_weights).absolute()
        self._finding = {"detector": detector, "faces_weights": weights}
        self.whole = detector == WHOLE
        self.detect = find_detector(detector, weights)
        self.classifier = (model if opened else Classifier.open(model)).named()
        self.margin = margin
        self.tta = tta
        self.batch_size = batch_size

    def __reduce__(self):
        """Pickle the arguments that build the copy, which may be used in another folder."""
        own = {"margin": self.margin, "tta": self.tta, "batch_size": self.batch_size}
        return partial(Predictor, self.classifier, **self._finding, **own), ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self.classifier.class_names

    @property
    def face_shape(self) -> tuple[int, ...]:
        """Shape of a face that the network takes: (s, s) grey levels, or (s, s, 3) RGB."""
        return self.classifier.face_shape

    def warm_up(self) -> None:
        """Run detector and network once, so that the first answer is as fast as the next."""
        self.find(np.zeros((64, 64, 3), np.uint8))
        noise = np.random.default_rng(0).integers(0, 256, (1, *self.face_shape), np.uint8)
        self.probabilities(noise)  # refuses a network that returns no probabilities

    def __call__(self, images: Any) -> list[list[Prediction]]:
        """Return the faces of each picture, most confidently detected first.

        Args:
            images: one picture or several: paths, the bytes of files, open files, Pillow images,
                or arrays and tensors (h, w), (h, w, 3) or (h, w, 4) as `read_picture` takes
                them. An array (n, h, w) or (n, h, w, 3) is a batch. Memory holds one at a time.

        Returns:
            One list per picture; empty where no face was found.

        Raises:
            InputError: a picture cannot be read, or what is given may mean several things.
        """
        return self.classify([self.find(read_picture(image)) for image in _each(images)])

    def find(self, picture: np.ndarray) -> tuple[list[Box], Crops]:
        """Return where the faces of a picture are, and what the network sees of them.

        Args:
            picture: (h, w, 3) uint8, RGB.

        Returns:
            Boxes and crops, most confidently detected first.
        """
        faces = self.detect(picture)
        return [face.box for face in faces], [self.crop(picture, face) for face in faces]

    def crop(self, picture: np.ndarray, face: DetectedFace) -> np.ndarray:
        """Return what the network sees of a face in a picture, (k, *face_shape) uint8.

        It is cut out in k = 3 frames, the middle one first; a whole picture is one.
        """
        if self.whole:
            return as_face(picture, self.face_shape)[None]
        margins = [self.margin + frame for frame in FRAMES]
        return np.stack([crop_face(picture, face, each, self.face_shape) for each in margins])

    def classify(self, found: Collection[tuple[list[Box], Crops]]) -> list[list[Prediction]]:
        """Return what the faces express that `find` found in several pictures."""
        crops = [crop for _, crops in found for crop in crops]
        rows = iter(self.probabilities(np.array(crops)) if crops else ())
        return [[self.describe(box, next(rows)) for box in boxes] for boxes, _ in found]

    def probabilities(self, faces: np.ndarray) -> np.ndarray:
        """Return (n, C) float32 probabilities of faces that are already cropped.

        Args:
            faces: (n, *face_shape) uint8, or k crops of each, (n, k, *face_shape).

        Raises:
            InputError: the faces have another shape or type.
        """
        return self.classifier.probabilities(faces, batch_size=self.batch_size, tta=self.tta)

    def describe(self, box: Sequence[float], probabilities: np.ndarray) -> Prediction:
        """Return the prediction of one face from its (C,) probabilities."""
        shares = dict(zip(self.class_names, map(float, probabilities), strict=True))
        label = max(shares, key=shares.get)
        return Prediction(tuple(box), label, shares[label], shares)


def _each(images: Any) -> Iterator:
    """Yield the pictures of what is one or several; InputError if it is neither, or may be both."""
    files = (str, os.PathLike, bytes, bytearray, memoryview)
    if isinstance(images, files) or hasattr(images, "read") or hasattr(images, "getexif"):
        yield images
    elif hasattr(images, "__array__"):
        # Of tensors on a GPU, or symbolic ones.
        with as_input_error(f"cannot make an array of {type(images).__name__}", Exception):
            array = np.asarray(images)
        if array.dtype.kind in "OUT" and array.ndim == 1:  # paths, such as a pandas column
            return (yield from array.tolist())
        last_is_colour = array.ndim == 3 and array.shape[2] in (1, 3, 4)
        if array.ndim == 3 and array.shape[0] in (3, 4) and not last_is_colour:
            raise InputError(
                f"an array {array.shape} may be {array.shape[0]} grey pictures, or one picture "
                "with its channels first; pass list(array), or array.transpose(1, 2, 0)"
            )
        yield from [array] if array.ndim < 3 or last_is_colour else array
    elif isinstance(images, Mapping) or not isinstance(images, Iterable):
        raise InputError(f"{EXPECTED}, or several of these; got {type(images).__name__}")
    else:
        yield from images
