"""The Keras network behind a classifier, cut open: logits, gradients, feature maps."""

from collections.abc import Callable
from functools import cached_property

import keras
import numpy as np

from ferplus_keras.classifier import Classifier
from ferplus_keras.explain.gradients import gradient_of
from ferplus_keras.explain.methods import Scores
from ferplus_keras.models.layers import HEAD, PREPROCESSING, FacePreprocessing


def can_cut_open(model: keras.Model) -> bool:
    """Return whether a network has the preprocessing and the head that `build_model` builds."""
    kinds = {layer.name: type(layer) for layer in model.layers}
    return kinds.get(PREPROCESSING) is FacePreprocessing and model.layers[-1].name == HEAD


class Network(Scores):
    """A classifier explained by the derivatives of its Keras network.

    A checkpoint takes uint8, which has no derivative. So derivatives are taken with respect to the
    images that its preprocessing makes, and carried back to the pixels of the face by the chain
    rule: exactly zero outside the crop. Histogram equalisation, which has no derivative either, is
    taken as a change of units: there the derivative is with respect to the equalised value.

    Scores are logits, which do not saturate as probabilities do. The network is not changed.
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
        biased = {"use_bias": head.use_bias, "dtype": "float32"}
        dense = keras.layers.Dense(len(columns), **biased, name="logits")
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
        """Carry values (n, size, size, channels) back to faces (n, s, s), with the same sums."""
        side, inside, shares = self.classifier.face_size, slice(*self.box), self._enlargement
        faces = np.zeros((len(values), side, side), np.float32)
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
        """Return `feature_layer`'s output, (n, h, w, channels), and each logit's gradient there."""
        images, (features, gradient) = self.images(faces), self._features
        maps = self._batched(features.predict_on_batch, images)
        return maps, self._batched(gradient, classes, maps, images)

    @cached_property
    def _image_gradient(self) -> Callable[..., np.ndarray]:
        return gradient_of(self._from_images)

    @cached_property
    def _features(self) -> tuple[keras.Model, Callable[..., np.ndarray]]:
        features = self._model.get_layer(self.feature_layer).output
        # The images are an input too, in case the head also depends on them by another path.
        to_logits = keras.Model([features, self._images], self._logits)
        return keras.Model(self._images, features), gradient_of(to_logits)

    @cached_property
    def _enlargement(self) -> np.ndarray:
        """Share of each of the box's rows, or columns, in each of the image's: (size, s)."""
        side = self.box[1] - self.box[0]
        one, size = np.eye(side, dtype=np.float32)[None, :, :, None], self._images.shape[1]
        enlarged = keras.ops.image.resize(one, (size, side), data_format="channels_last")
        return keras.ops.convert_to_numpy(enlarged)[0, :, :, 0]

    def _batched(self, function: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
        """Join a function's results on batches; the last is filled up to avoid compiling again."""
        rows = len(arrays[0])
        size = min(rows, self.batch_size)
        parts = []
        for begin in range(0, rows, size):
            indices = np.minimum(np.arange(begin, begin + size), rows - 1)
            parts.append(np.asarray(function(*(array[indices] for array in arrays)), np.float32))
        return np.concatenate(parts)[:rows]
