"""Give BatchNormalization layers that stand for affine ones the statistics of real inputs."""

import keras
import numpy as np

_BATCH = 50


def calibrate(model: keras.Model, faces: np.ndarray) -> None:
    """Set every BatchNormalization's statistics to those of its input, and scale kernels to fit.

    With mean 0 and variance 1, the first training batch would change the network, and Adam's
    steps, whose size does not depend on a kernel's, would be as large as dlib's kernels. So the
    kernel before a BatchNormalization is divided by its input's standard deviation per channel,
    which makes the variance 1 (or 0, for a channel without any). Gamma and beta make up for all of
    it: inference is unchanged.

    Args:
        model: a network of which every BatchNormalization follows a convolution without bias,
            whose output nothing else uses; changed in place.
        faces: (n, h, w) or (n, h, w, 3) uint8, 0-255, as the network takes them: of the training
            split, never of those that evaluation reads.
    """
    norms = [one for one in model.layers if isinstance(one, keras.layers.BatchNormalization)]
    inputs = keras.Model(model.input, [norm.input for norm in norms])
    sums = [np.zeros((2, norm.gamma.shape[0])) for norm in norms]
    pixels = [0] * len(norms)
    for start in range(0, len(faces), _BATCH):
        for i, values in enumerate(inputs.predict_on_batch(faces[start : start + _BATCH])):
            values = np.asarray(values, np.float64).reshape(-1, sums[i].shape[1])
            sums[i] += values.sum(axis=0), np.square(values).sum(axis=0)
            pixels[i] += len(values)
    for norm, total, count in zip(norms, sums, pixels, strict=True):
        mean, square = total / count
        variance = np.maximum(square - mean**2, 0)
        deviation = np.where(variance > 0, np.sqrt(variance), 1)
        gamma, beta, old_mean, old_variance = (np.float64(value) for value in norm.get_weights())
        scale = gamma / np.sqrt(old_variance + norm.epsilon)
        unit = variance / deviation**2
        gamma = scale * deviation * np.sqrt(unit + norm.epsilon)
        norm.set_weights([gamma, beta + scale * (mean - old_mean), mean / deviation, unit])
        convolution = norm.input._keras_history.operation
        (kernel,) = convolution.get_weights()
        convolution.set_weights([kernel / deviation])
