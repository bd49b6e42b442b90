"""What every network shares: the preprocessing of faces and the head, inside the saved graph.

The own layers are registered with Keras, so that files with them load.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers, ops

_GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in a grey level (ITU-R BT.601)."""

_DIGIT = 16
"""A grey level is written as two digits of this base, which keeps the counting small."""

PREPROCESSING = "preprocessing"
"""Name of the layer between the faces and the backbone, in every network of `build_model`."""

HEAD = "dense"
"""Name of the one head layer with weights, here and in checkpoints of the older project."""


def classify(
    features: keras.KerasTensor, num_classes: int, dropout_rate: float, activation: str
) -> keras.KerasTensor:
    """Return the (b, C) float32 probabilities of features (b, h, w, c) or (b, c).

    Dropout is there even at rate 0, so that a layer's position never depends on the rate. The
    last layer computes in float32 under mixed precision as well: softmax overflows in float16.
    """
    x = layers.Flatten(data_format="channels_last", name="flatten_1")(features)
    x = layers.Dropout(dropout_rate, name="dropout_layer")(x)
    return Head(num_classes, activation=activation, dtype="float32", name=HEAD)(x)


@keras.saving.register_keras_serializable(package="ferplus_keras")
class Head(layers.Dense):
    """A dense layer whose probabilities, however small, pass on cross-entropy's gradient.

    Keras' cross-entropy takes the logits of a softmax on TensorFlow. On JAX and Torch it clips
    probabilities at 1e-7, below which there is no gradient. There a training step raises them to
    1e-30 instead but differentiates as if it had not: with `losses.crossentropy`, exactly.
    """

    def call(self, inputs, training=None):
        """Return (b, C) float32 probabilities of features (b, d)."""
        softmax = self.activation is keras.activations.softmax
        if not (training and softmax) or keras.backend.backend() == "tensorflow":
            return super().call(inputs, training=training)
        logs = ops.log_softmax(ops.matmul(inputs, self.kernel) + self.bias)
        return ops.exp(logs + ops.stop_gradient(ops.maximum(logs, np.log(1e-30)) - logs))


@keras.saving.register_keras_serializable(package="ferplus_keras")
class FacePreprocessing(layers.Layer):
    """Take the centre of faces, resize it bilinearly and normalise it in every channel.

    It resizes by `keras.ops.image.resize` rather than `keras.layers.Resizing`, which in Keras 3.15
    switches every later layer to training mode when the model is called directly. It computes in
    float32 under mixed precision too: grey levels lose precision in float16.

    Args:
        image_size: side of the images handed to the backbone, in pixels.
        mean: value (0-255) subtracted in each channel; their number is that of the channels.
        std: what each channel is divided by then; empty for no division.
        crop: side of the centre of each face that is used, in pixels; None for the whole face.
        equalize: normalise the lighting of grey images (`normalise_lighting`) after resizing.
        channel_order: of the images: "bgr", "rgb" or "grey"; None in files older than colour,
            which take grey faces only.
        **kwargs: as for `keras.layers.Layer`.

    Call arguments:
        faces: (b, h, w) grey or (b, h, w, 3) RGB uint8, 0-255.

    Returns:
        (b, image_size, image_size, len(mean)) float32: 0-255 minus the mean, divided by std;
        with `equalize`, values of mean 0 and variance 1 instead of 0-255.
    """

    def __init__(
        self,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float] = (),
        crop: int | None = None,
        equalize: bool = False,
        channel_order: str | None = None,
        **kwargs,
    ):
        kwargs.setdefault("dtype", "float32")
        kwargs.pop("data_format", None)  # "channels_last" in files of older versions
        super().__init__(**kwargs)
        self.image_size = image_size
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.crop = crop
        self.equalize = equalize
        self.channel_order = channel_order

    def call(self, faces):
        """Return the images for uint8 faces."""
        images = ops.cast(faces, "float32")
        if len(images.shape) == 3:
            images = ops.expand_dims(images, axis=-1)
        elif self.channel_order == "grey":
            images = ops.sum(images * ops.convert_to_tensor(_GREY), axis=-1, keepdims=True)
        elif self.channel_order == "bgr":
            images = ops.flip(images, axis=-1)
        elif self.channel_order is None:
            raise ValueError("colour faces need a channel_order: 'bgr', 'rgb' or 'grey'")
        if self.crop is not None:
            top, left = ((side - self.crop) // 2 for side in images.shape[1:3])
            images = images[:, top : top + self.crop, left : left + self.crop]
        size = (self.image_size, self.image_size)
        if tuple(images.shape[1:3]) != size:
            images = ops.image.resize(
                images, size, interpolation="bilinear", data_format="channels_last"
            )
        if self.equalize:
            images = normalise_lighting(images)
        images = images - ops.convert_to_tensor(self.mean, dtype="float32")
        return images / ops.convert_to_tensor(self.std, dtype="float32") if self.std else images

    def compute_output_shape(self, input_shape):
        """Return (b, image_size, image_size, channels)."""
        return (input_shape[0], self.image_size, self.image_size, len(self.mean))

    def get_config(self):
        """Return every argument of the constructor, JSON-ready."""
        return {
            **super().get_config(),
            "image_size": self.image_size,
            "mean": list(self.mean),
            "std": list(self.std),
            "crop": self.crop,
            "equalize": self.equalize,
            "channel_order": self.channel_order,
        }


def normalise_lighting(grey: keras.KerasTensor) -> keras.KerasTensor:
    """Equalise histograms, subtract the best-fitting plane, and scale to unit variance.

    This is the preprocessing of Barsoum et al. 2016 (arXiv:1608.01041). Every level becomes the
    share of pixels that are not brighter, spread over -1 to 1; the plane of least squares through
    those values removes light that falls from one side.

    Args:
        grey: (b, s, s, 1) float32, 0-255; levels are rounded, halves up.

    Returns:
        (b, s, s, 1) float32 of mean 0 and, unless a face is one level all over, variance 1.
    """
    side = grey.shape[1]
    images = _equalise(ops.reshape(grey, (-1, side * side)))
    images = ops.reshape(images, (-1, side, side))
    images = images - ops.mean(images, axis=(1, 2), keepdims=True)
    # Around the centre the slopes along both axes and the mean can be fitted one by one.
    offset = ops.arange(side, dtype="float32") - (side - 1) / 2
    for slope in (ops.reshape(offset, (1, side, 1)), ops.reshape(offset, (1, 1, side))):
        fit = ops.mean(images * slope, axis=(1, 2), keepdims=True) / ops.mean(ops.square(slope))
        images = images - fit * slope
    deviation = ops.sqrt(ops.mean(ops.square(images), axis=(1, 2), keepdims=True))
    # What is left of a face of one level is rounding, not to be blown up.
    images = images / ops.where(deviation > 1e-6, deviation, 1.0)
    return ops.expand_dims(images, axis=-1)


def _equalise(grey):
    """Return for each of (b, n) pixels which share of its image's are not brighter, -1 to 1."""
    # Enlarging makes many exact halves; the margin keeps backends' rounding errors out of them.
    levels = ops.cast(ops.floor(ops.clip(grey, 0, 255) + 0.501), "int32")
    high, low = (
        ops.one_hot(digit, _DIGIT, dtype="float32") for digit in (levels // _DIGIT, levels % _DIGIT)
    )
    counts = ops.reshape(ops.matmul(ops.transpose(high, (0, 2, 1)), low), (-1, _DIGIT * _DIGIT))
    not_brighter = ops.take_along_axis(ops.cumsum(counts, axis=1), levels, axis=1)
    return not_brighter * (2 / grey.shape[1]) - 1


@keras.saving.register_keras_serializable(package="ferplus_keras")
class PatchTokens(layers.Layer):
    """Put a learned class token before the patches and add a learned position to every token.

    Call arguments:
        patches: (b, n, width) float.

    Returns:
        (b, 1 + n, width) float.
    """

    def build(self, input_shape):
        """Create the class token (1, 1, width) and the positions (1 + n, width)."""
        _, patches, width = input_shape
        self.class_token = self.add_weight(
            shape=(1, 1, width), initializer="random_normal", name="class_token"
        )
        self.positions = self.add_weight(
            shape=(1 + patches, width),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="positions",
        )

    def call(self, patches):
        """Return the tokens for (b, n, width) patches."""
        first = ops.broadcast_to(self.class_token, (ops.shape(patches)[0], 1, patches.shape[-1]))
        return ops.concatenate([first, patches], axis=1) + self.positions

    def compute_output_shape(self, input_shape):
        """Return (b, 1 + n, width)."""
        batch, patches, width = input_shape
        return (batch, 1 + patches, width)


@keras.saving.register_keras_serializable(package="ferplus_keras")
class PaddedAdd(layers.Layer):
    """Add two maps, each filled up with zeros where the other is larger, as dlib does.

    Zeros go behind the last row, column and channel.

    Call arguments:
        maps: two tensors of the same number of axes, of known sizes but for the batch.

    Returns:
        Their sum, as large along every axis as the larger of the two.
    """

    def call(self, maps):
        """Return the sum of both maps."""
        sides = self.compute_output_shape([one.shape for one in maps])[1:]
        first, second = (
            ops.pad(one, [(0, 0), *((0, n - m) for n, m in zip(sides, one.shape[1:], strict=True))])
            for one in maps
        )
        return first + second

    def compute_output_shape(self, input_shape):
        """Return the larger size along each axis."""
        first, second = input_shape
        return (first[0], *map(max, first[1:], second[1:]))
