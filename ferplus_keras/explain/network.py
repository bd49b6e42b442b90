"""The Keras network behind a classifier, cut open: logits, gradients, feature maps."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import keras
import numpy as np

from ferplus_keras.classifier import Classifier
from ferplus_keras.errors import InputError
from ferplus_keras.explain.methods import Scores

PREPROCESSING, HEAD = "preprocessing", "dense"
"""Names of the layers between which a backbone lies, in every network of `build_model`."""


class Network(Scores):
    """A classifier explained by the derivatives of its Keras network.

    A checkpoint takes uint8, which has no derivative. So derivatives are taken with respect to the
    images that its preprocessing makes, and carried back to the pixels of the face by the chain
    rule: divided as they were, summed over the channels, and shared out by the weights of the
    enlargement. They are exactly zero outside the crop. Histogram equalisation, which has no
    derivative either, counts as a change of units: there a pixel's slope is with respect to its
    equalised value.

    Scores are logits: the last layer's sums before softmax or sigmoid, which do not saturate. The
    network, one as `build_model` builds it, is not changed.
    """

    has_gradients = True

    def __init__(self, classifier: Classifier, batch_size: int = 64) -> None:
        super().__init__(classifier, batch_size)
        self._model = classifier.network
        layer, head = self._model.get_layer(PREPROCESSING), self._model.get_layer(HEAD)
        crop = layer.crop or classifier.face_size
        margin = (classifier.face_size - crop) // 2
        self.box = (margin, margin + crop)
        self.grey = float(np.mean(layer.mean)) or 128.0
        self._std = np.array(layer.std or 1.0, np.float32)
        columns = list(classifier.columns or range(head.units))
        dense = keras.layers.Dense(
            len(columns), use_bias=head.use_bias, dtype="float32", name="logits"
        )
        self._images, self._logits = layer.output, dense(head.input)
        dense.set_weights([weights[..., columns] for weights in head.get_weights()])
        self._from_images = keras.Model(self._images, self._logits)
        faces = keras.Input(self._model.input_shape[1:], dtype="float32", name="float_faces")
        self._prepare = keras.Model(faces, type(layer).from_config(layer.get_config())(faces))

    def scores(self, faces: np.ndarray) -> np.ndarray:
        """Return (n, C) float32 logits of faces (n, s, s), grey levels 0-255 of any dtype."""
        return self._batched(self._from_images.predict_on_batch, self.images(faces))

    def images(self, faces: np.ndarray) -> np.ndarray:
        """Return what the preprocessing makes of faces: (n, size, size, channels) float32."""
        return self._batched(self._prepare.predict_on_batch, np.asarray(faces, np.float32))

    def gradients(self, faces: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Return each logit's derivative by the pixels, (n, s, s) float32, per grey level."""
        return self.to_faces(self.image_gradients(self.images(faces), classes) / self._std)

    def image_gradients(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Return each logit's derivative with respect to its image, in the images' shape."""
        return self._batched(self._image_gradient, classes, images)

    def to_faces(self, values: np.ndarray) -> np.ndarray:
        """Carry values (n, size, size, channels) of the images' pixels back to the faces'.

        Sums stay what they are. The result is (n, s, s) float32, 0 outside `box`.
        """
        side, inside = self.classifier.face_size, slice(*self.box)
        faces = np.zeros((len(values), side, side), np.float32)
        shares = self._enlargement
        faces[:, inside, inside] = shares.T @ values.sum(axis=-1) @ shares
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
        """Return the output of `feature_layer` and each logit's derivative with respect to it.

        Both are (n, h, w, channels) float32.
        """
        images = self.images(faces)
        maps = self._batched(self._features.predict_on_batch, images)
        return maps, self._batched(self._feature_gradient, classes, maps, images)

    @cached_property
    def _image_gradient(self) -> Callable[..., np.ndarray]:
        return gradient_of(self._from_images)

    @cached_property
    def _features(self) -> keras.Model:
        return keras.Model(self._images, self._model.get_layer(self.feature_layer).output)

    @cached_property
    def _feature_gradient(self) -> Callable[..., np.ndarray]:
        # The images stand beside the map, in case the head also sees them by another way.
        features = self._model.get_layer(self.feature_layer).output
        return gradient_of(keras.Model([features, self._images], self._logits))

    @cached_property
    def _enlargement(self) -> np.ndarray:
        """How much of each of the box's rows, or columns, is in each of the image's: (size, s)."""
        side = self.box[1] - self.box[0]
        one = np.eye(side, dtype=np.float32)[None, :, :, None]
        size = (self._images.shape[1], side)
        layout = {"interpolation": "bilinear", "data_format": "channels_last"}
        enlarged = keras.ops.image.resize(one, size, **layout)
        return keras.ops.convert_to_numpy(enlarged)[0, :, :, 0]

    def _batched(self, function: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
        """Join a function's results on batches, the last filled up: a new shape is compiled."""
        rows = len(arrays[0])
        size = min(rows, self.batch_size)
        parts = []
        for begin in range(0, rows, size):
            indices = np.minimum(np.arange(begin, begin + size), rows - 1)
            parts.append(np.asarray(function(*(array[indices] for array in arrays)), np.float32))
        return np.concatenate(parts)[:rows]


def gradient_of(model: keras.Model) -> Callable[..., np.ndarray]:
    """Return the function that differentiates a network's logits by its first input.

    It takes the (b,) int classes and the network's inputs, and returns the gradient of each row's
    logit. The network, of one or more inputs and (b, C) logits, runs in inference mode: dropout is
    off, BatchNormalization uses its stored statistics, and no weight changes.

    Raises:
        InputError: Keras runs on a backend without gradients.
    """
    ways = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    backend = keras.backend.backend()
    if backend not in ways:
        raise InputError(
            f"gradients need Keras on {', '.join(ways)}, not on {backend}; "
            "occlusion works without them"
        )

    def score(inputs, chosen, call=model):
        given = inputs if len(inputs) > 1 else inputs[0]
        return keras.ops.sum(call(given, training=False) * chosen)

    differentiate = ways[backend](model, score)
    one_hot = np.eye(model.output_shape[-1], dtype=np.float32)
    return lambda classes, *inputs: differentiate(inputs, one_hot[classes])


def _tensorflow(model: keras.Model, score: Callable):
    import tensorflow as tf

    @tf.function(reduce_retracing=True)
    def compute(inputs, chosen):
        with tf.GradientTape() as tape:
            tape.watch(inputs[0])
            total = score(inputs, chosen)
        return tape.gradient(total, inputs[0])

    return lambda inputs, chosen: compute(list(map(tf.constant, inputs)), chosen).numpy()


def _jax(model: keras.Model, score: Callable):
    import jax

    def total(first, others, chosen, *weights):
        # Weights travel as arguments: as constants they would be compiled into the program.
        def call(given, training):
            return model.stateless_call(*weights, given, training=training)[0]

        return score([first, *others], chosen, call)

    compute = jax.jit(jax.grad(total))

    def differentiate(inputs, chosen):
        kinds = (model.trainable_variables, model.non_trainable_variables)
        weights = [[variable.value for variable in kind] for kind in kinds]
        return compute(inputs[0], inputs[1:], chosen, *weights)

    return differentiate


def _torch(model: keras.Model, score: Callable):
    import torch

    def differentiate(inputs, chosen):
        inputs = [keras.ops.convert_to_tensor(x) for x in inputs]
        inputs[0].requires_grad_(True)
        with torch.enable_grad():
            total = score(inputs, keras.ops.convert_to_tensor(chosen))
        return torch.autograd.grad(total, inputs[0])[0].cpu().numpy()

    return differentiate
