"""Losses and metrics that Keras does not have, and the choice of them by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
from keras import ops

from ferplus_keras.errors import UsageError


@keras.saving.register_keras_serializable(package="ferplus_keras")
def multi_target(targets, probabilities):
    """Return −log max_k(t_k p_k): any of a face's right classes will do.

    The multi-target loss of Barsoum et al. 2016 (arXiv 1608.01041).

    Args:
        targets: (b, C) float32, 1 for every right class, 0 elsewhere.
        probabilities: (b, C) float32.

    Returns:
        (b,) float32 losses.
    """
    best = ops.max(targets * probabilities, axis=-1)
    return -ops.log(ops.maximum(best, keras.config.epsilon()))


def accuracy(targets, probabilities):
    """Return 1 where the most probable class is among the right ones, (b,) float32.

    Keras logs a metric under its function's name.
    """
    predicted = ops.expand_dims(ops.argmax(probabilities, axis=-1), axis=-1)
    right = ops.take_along_axis(ops.convert_to_tensor(targets), predicted, axis=-1)
    return ops.cast(ops.squeeze(right, axis=-1) > 0, "float32")


OWN = {"multi_target": multi_target}
"""Losses of this project by name; all others are Keras'."""

ACCURACIES = {
    "categorical_accuracy": "accuracy",
    "multi_target_accuracy": accuracy,
}
"""`TargetKind.accuracy` -> the metric, as `compile` takes it."""


def find_loss(name: str) -> Callable | keras.losses.Loss:
    """Return the loss called `name`.

    Raises:
        UsageError: neither this project nor Keras has a loss of that name.
    """
    try:
        return OWN.get(name) or keras.losses.get(name)
    except ValueError:
        raise UsageError(
            f"unknown loss '{name}'; expected 'multi_target' or the name of a Keras loss, "
            "such as categorical_crossentropy or categorical_focal_crossentropy"
        ) from None


def find_metrics(names: Sequence[str], accuracy: str) -> list[str | Callable]:
    """Return the metrics to compile with: `accuracy`, which chooses the model, and the others.

    Args:
        names: Keras metric names; the older project's `acc` is accuracy.
        accuracy: what counts right answers, a key of `ACCURACIES`.

    Raises:
        UsageError: Keras has no metric of that name.
    """
    others = [name for name in dict.fromkeys(names) if name not in ("acc", "accuracy")]
    for name in others:
        try:
            keras.metrics.get(name)
        except ValueError:
            raise UsageError(
                f"unknown metric '{name}'; expected the name of a Keras metric, such as "
                "top_k_categorical_accuracy"
            ) from None
    return [ACCURACIES[accuracy], *others]
