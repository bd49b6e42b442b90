"""Even out the light on a face: the preprocessing of Barsoum et al. 2016 (arXiv:1608.01041)."""

import keras
from keras import ops

_DIGIT = 16
"""A grey level is written as two digits of this base, which keeps the counting small."""


def even_light(grey: keras.KerasTensor) -> keras.KerasTensor:
    """Equalise histograms, subtract the plane that fits best, and scale to unit variance.

    Every level becomes the share of pixels that are not brighter, spread over -1 to 1; the plane
    of least squares through those values takes light that falls from one side out.

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
