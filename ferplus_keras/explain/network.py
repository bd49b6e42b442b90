"""A classifier cut open: logits of faces as floating-point grey levels, gradients, feature maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import keras
import numpy as np

from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.explain.gradients import gradient_of
from ferplus_keras.models.head import HEAD
from ferplus_keras.models.preprocess import FacePreprocessing

PREPROCESSING = "preprocessing"
"""Name of the layer that turns uint8 faces into images."""


class Box(NamedTuple):
    """The part of a face that the network looks at: rows and columns top:bottom, left:right."""

    top: int
    bottom: int
    left: int
    right: int


class Network:
    """What the methods ask of a classifier.

    A checkpoint takes uint8, which has no derivative. So derivatives are taken by the images that
    its preprocessing makes, and carried back to the 48x48 pixels by the chain rule: divided as they
    were, summed over the channels, and shared out by the weights of the enlargement. They are
    exactly zero outside the crop. Histogram equalisation, which has no derivative either, counts
    as a change of units: there a pixel's slope is by its evened-out value.

    Scores are logits: the last layer's sums before softmax or sigmoid, which do not saturate.

    Args:
        model: network of `build_model` or of a checkpoint; it is not changed.
        class_names: class of each output, in order.
        batch_size: faces that pass through it at once; does not change results.

    Attributes:
        class_names: as given.
        batch_size: as given.
        box: the part of the face that it looks at.
        grey: grey level (0-255) that means little to it: the mean that it subtracts, else 128.
    """

    def __init__(self, model: keras.Model, class_names: Sequence[str], batch_size: int = 64):
        self.class_names = tuple(class_names)
        self.batch_size = batch_size
        self._model = model
        layer = model.get_layer(PREPROCESSING)
        self.box = _box(layer.crop)
        self.grey = float(np.mean(layer.mean)) or 128.0
        self._std = np.array(layer.std or 1.0, np.float32)
        head = model.get_layer(HEAD)
        dense = keras.layers.Dense(
            head.units, use_bias=head.use_bias, dtype="float32", name="logits"
        )
        self._images, self._logits = layer.output, dense(head.input)
        dense.set_weights(head.get_weights())

    def predict(self, faces: np.ndarray) -> np.ndarray:
        """Return the classifier's own (n, C) float32 probabilities of (n, 48, 48) uint8 faces."""
        return self._batched(self._model.predict_on_batch, faces)

    def logits(self, faces: np.ndarray) -> np.ndarray:
        """Return (n, C) float32 logits of faces (n, 48, 48), grey levels 0-255 of any dtype."""
        return self._batched(self._from_faces.predict_on_batch, np.asarray(faces, np.float32))

    def gradients(self, faces: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Return the derivative of each face's logit by its pixels.

        Args:
            faces: (n, 48, 48) grey levels 0-255.
            classes: (n,) int, the class of each face whose logit is meant.

        Returns:
            (n, 48, 48) float32, logits per grey level.
        """
        return self.to_faces(self.image_gradients(self.images(faces), classes) / self._std)

    def images(self, faces: np.ndarray) -> np.ndarray:
        """Return what the preprocessing makes of faces: (n, s, s, channels) float32."""
        return self._batched(self._prepare.predict_on_batch, np.asarray(faces, np.float32))

    def image_gradients(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Return the derivative of each image's logit by its values, in the images' shape."""
        return self._batched(
            lambda batch, chosen: self._image_gradient([batch], chosen), images, classes
        )

    def to_faces(self, values: np.ndarray) -> np.ndarray:
        """Carry values at the images' pixels back to the faces'; sums stay what they are.

        Args:
            values: (n, s, s, channels).

        Returns:
            (n, 48, 48) float32, 0 outside `box`.
        """
        top, bottom, left, right = self.box
        faces = np.zeros((len(values), FACE_SIZE, FACE_SIZE), np.float32)
        shares = self._enlargement
        faces[:, top:bottom, left:right] = shares.T @ values.sum(axis=-1) @ shares
        return faces

    @cached_property
    def feature_layer(self) -> str | None:
        """Name of the last layer with a map of more than 1x1 features; None if there is none."""
        names = [layer.name for layer in self._model.layers]
        for layer in reversed(self._model.layers[names.index(PREPROCESSING) + 1 :]):
            shape = getattr(layer.output, "shape", ())
            if len(shape) == 4 and shape[1] * shape[2] > 1:
                return layer.name
        return None

    def feature_maps(self, faces: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the output of `feature_layer` and the derivative of each face's logit by it.

        Args:
            faces: (n, 48, 48) grey levels 0-255.
            classes: (n,) int.

        Returns:
            Two (n, h, w, channels) float32.
        """

        def both(batch, chosen):
            images, maps = self._to_features.predict_on_batch(batch)
            return np.stack([maps, self._feature_gradient([maps, images], chosen)], axis=1)

        found = self._batched(both, np.asarray(faces, np.float32), classes)
        return found[:, 0], found[:, 1]

    @cached_property
    def _prepare(self) -> keras.Model:
        faces = keras.Input((FACE_SIZE, FACE_SIZE), dtype="float32", name="float_faces")
        config = self._model.get_layer(PREPROCESSING).get_config()
        return keras.Model(faces, FacePreprocessing.from_config(config)(faces))

    @cached_property
    def _from_images(self) -> keras.Model:
        return keras.Model(self._images, self._logits)

    @cached_property
    def _from_faces(self) -> keras.Model:
        return keras.Model(self._prepare.input, self._from_images(self._prepare.output))

    @cached_property
    def _image_gradient(self):
        return gradient_of(self._from_images)

    @cached_property
    def _enlargement(self) -> np.ndarray:
        """How much of each of the box's rows, or columns, is in each of the image's: (s, side)."""
        side = self.box.bottom - self.box.top
        one = np.eye(side, dtype=np.float32)[None, :, :, None]
        size = (self._images.shape[1], side)
        layout = {"interpolation": "bilinear", "data_format": "channels_last"}
        enlarged = keras.ops.image.resize(one, size, **layout)
        return keras.ops.convert_to_numpy(enlarged)[0, :, :, 0]

    @cached_property
    def _to_features(self) -> keras.Model:
        features = self._model.get_layer(self.feature_layer).output
        images = self._prepare.output
        features_of = keras.Model(self._images, features)
        return keras.Model(self._prepare.input, [images, features_of(images)])

    @cached_property
    def _feature_gradient(self):
        # The images stand beside the map, in case the head also sees them by another way.
        features = self._model.get_layer(self.feature_layer).output
        return gradient_of(keras.Model([features, self._images], self._logits))

    def _batched(self, function: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
        """Apply a function to batches of rows and join what it returns.

        A short last batch is filled up with its last row: a new shape would be compiled anew.
        """
        rows = len(arrays[0])
        size = min(rows, self.batch_size)
        parts = []
        for begin in range(0, rows, size):
            indices = np.minimum(np.arange(begin, begin + size), rows - 1)
            parts.append(np.asarray(function(*(array[indices] for array in arrays)), np.float32))
        return np.concatenate(parts)[:rows]


def _box(crop: int | None) -> Box:
    side = FACE_SIZE if crop is None else crop
    first = (FACE_SIZE - side) // 2
    return Box(first, first + side, first, first + side)
