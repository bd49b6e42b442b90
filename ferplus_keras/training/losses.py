"""Losses and metrics by name, also those that Keras does not have."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from ferplus_keras.errors import UsageError

_TINY = np.finfo(np.float32).tiny


def _shares(outputs):
    """Return outputs divided by their sum: a sigmoid's could otherwise all be 1 for every class."""
    return outputs / ops.maximum(ops.sum(outputs, axis=-1, keepdims=True), _TINY)


@keras.saving.register_keras_serializable(package="ferplus_keras")
def crossentropy(targets, probabilities):
    """Return −Σ_k t_k log p_k, (b,) float32; Keras' own clips on JAX and Torch (`layers.Head`)."""
    return -ops.sum(targets * ops.log(ops.maximum(_shares(probabilities), _TINY)), axis=-1)


@keras.saving.register_keras_serializable(package="ferplus_keras")
def multi_target(targets, probabilities):
    """Return −log max_k(t_k p_k), (b,) float32: any of a face's right classes will do.

    The multi-target loss of Barsoum et al. 2016 (arXiv 1608.01041). Targets, (b, C) float32, are 1
    for every right class and 0 elsewhere.
    """
    return -ops.log(ops.maximum(ops.max(targets * _shares(probabilities), axis=-1), _TINY))


def accuracy(targets, probabilities):
    """Return 1 where no class has a larger target than the most probable one, (b,) float32.

    Keras logs a metric under its function's name.
    """
    predicted = ops.expand_dims(ops.argmax(probabilities, axis=-1), axis=-1)
    right = ops.take_along_axis(ops.convert_to_tensor(targets), predicted, axis=-1)
    return ops.cast(ops.squeeze(right, axis=-1) >= ops.max(targets, axis=-1), "float32")


def _of_probabilities(function: Callable) -> Callable:
    """Return a function of the probabilities: TensorFlow's would take any activation's logits."""
    return lambda targets, outputs, **options: function(targets, 1 * outputs, **options)


ACCURACIES = {"categorical_accuracy": "accuracy", "multi_target_accuracy": accuracy}
"""`TargetKind.accuracy` -> the metric, as `compile` takes it."""


def find_loss(
    name: str, activation: str = "softmax", *, shares: bool = True, weighted: bool = False
) -> Callable | keras.losses.Loss:
    """Return the loss called `name`, this project's or one of Keras', for a head's activation.

    `shares` says that targets add up to 1: of others, TensorFlow's gradient is a wrong one.
    `weighted` says that there are class weights, which need a loss per row.

    Raises:
        UsageError: there is none of that name that takes targets (b, C), or it cannot be weighted.
    """
    examples = "categorical_crossentropy, categorical_focal_crossentropy or multi_target"
    found = multi_target if name == "multi_target" else _get(keras.losses, "loss", name, examples)
    function = getattr(found, "fn", found)  # of a class, such as CategoricalCrossentropy
    if weighted and ops.shape(function(*[ops.eye(3)] * 2)) != (3,):
        raise UsageError(f"--loss {name} has one value per batch: give --class_weights none")
    keras_own = keras.backend.backend() == "tensorflow" and activation == "softmax" and shares
    if function is keras.losses.categorical_crossentropy and not keras_own:
        return crossentropy
    if activation == "softmax" and "binary" in function.__name__:
        return _of_probabilities(function)
    if activation == "sigmoid" and function is keras.losses.kl_divergence:
        raise UsageError(f"--loss {name} needs --activation softmax: answers of 1 cost it nothing")
    return found


def find_metrics(
    names: Sequence[str], accuracy: str, classes: int = 8, activation: str = "softmax"
) -> list[str | Callable | keras.metrics.Metric]:
    """Return the metrics to compile with: `accuracy`, which chooses the model, and the others.

    F1Score and FBetaScore are the mean over the classes.

    Args:
        names: Keras metric names; the older project's `acc` is accuracy.
        accuracy: what counts right answers, a key of `ACCURACIES`.
        classes, activation: of the head.

    Raises:
        UsageError: Keras has no metric of that name that takes targets (b, C).
    """
    found = [ACCURACIES[accuracy]]
    others = f"{'binary' if activation == 'softmax' else 'categorical'}_crossentropy"
    for name in dict.fromkeys(names):
        if name not in ("acc", "accuracy"):
            metric = _get(keras.metrics, "metric", name, "categorical_crossentropy", classes)
            if getattr(metric, "average", "macro") is None:  # one number is logged
                metric.average = "macro"
            elif getattr(metric, "name", "") == others:
                metric._fn, metric.name = _of_probabilities(metric._fn), name
            else:
                metric = name
            found.append(metric)
    return found


def _get(module: Any, kind: str, name: str, examples: str, classes: int = 8) -> Any:
    one_hot = np.eye(3, classes, dtype="float32")
    try:
        module.get(name)(y_true=one_hot, y_pred=one_hot)  # `Mean` has neither
        return module.get(name)  # a metric keeps what it was tried on
    except Exception:  # none of that name, or one that needs arguments or other targets
        raise UsageError(
            f"expected the name of a Keras {kind} of one-hot targets, such as {examples}; "
            f"got '{name}'"
        ) from None
