"""Losses that Keras does not have, and the choice of one."""

from __future__ import annotations

from collections.abc import Callable

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


def find_loss(name: str | None, label_rule: str) -> Callable | keras.losses.Loss:
    """Return the loss called `name`, or the label rule's own when `name` is None.

    Raises:
        UsageError: Keras has no loss of that name.
    """
    if name is None:
        name = "multi_target" if label_rule == "ms_multi_target" else "categorical_crossentropy"
    if name == "multi_target":
        return multi_target
    try:
        return keras.losses.get(name)
    except ValueError:
        raise UsageError(
            f"unknown loss '{name}'; expected 'multi_target' or the name of a Keras loss, "
            "such as categorical_crossentropy or categorical_focal_crossentropy"
        ) from None


def find_metrics(names: tuple[str, ...]) -> list[str]:
    """Return the metrics to compile with: `accuracy`, which chooses the model, and the others.

    Args:
        names: Keras metric names; the older project's `acc` is accuracy.

    Raises:
        UsageError: Keras has no metric of that name.
    """
    wanted = list(dict.fromkeys(["accuracy", *("accuracy" if n == "acc" else n for n in names)]))
    for name in wanted[1:]:
        try:
            keras.metrics.get(name)
        except ValueError:
            raise UsageError(
                f"unknown metric '{name}'; expected the name of a Keras metric, such as "
                "top_k_categorical_accuracy"
            ) from None
    return wanted
