"""Weight penalties on chosen layers of a network that is already built."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from ferplus_keras.errors import UsageError
from ferplus_keras.models.freeze import find_layer
from ferplus_keras.models.weights import layer_variables


def penalise(
    model: keras.Model,
    penalty: str,
    rate: float,
    layer_names: Sequence[str] | None = None,
    bias: bool = False,
) -> list[str]:
    """Add an l1 or l2 penalty to the trainable weights of the named layers.

    Kernels, and the gamma and beta of normalisation, are penalised as in the older project; biases
    only if asked for. The penalty is set on the variables, where it counts in the loss, and
    on the layer, where it is saved.

    Args:
        model: a built network, layers already frozen.
        penalty: "l1" or "l2".
        rate: factor of the penalty.
        layer_names: layers to penalise; None means every trainable layer that has such weights.
        bias: penalise biases too.

    Returns:
        Names of the penalised layers.

    Raises:
        UsageError: an unknown layer, or one that is frozen or has nothing to penalise.
    """
    regularizer = {"l1": keras.regularizers.L1, "l2": keras.regularizers.L2}[penalty](rate)
    kinds = ("kernel", "gamma", "beta", *(("bias",) if bias else ()))
    layers = model.layers if layer_names is None else [find_layer(model, n) for n in layer_names]
    penalised = []
    for layer in layers:
        found = False
        for name, weight in layer_variables(layer).items():
            # Attention is a layer of layers: query/kernel, key/kernel …, one setting for all.
            kind = name.rpartition("/")[2]
            if kind not in kinds or not weight.trainable:
                continue
            found, weight.regularizer = True, regularizer
            inside = f"_{kind}_regularizer"
            setattr(layer, inside if hasattr(layer, inside) else inside[1:], regularizer)
        if found:
            penalised.append(layer.name)
        elif layer_names is not None:
            why = "it has no such weights" if layer.trainable else "it is frozen"
            raise UsageError(f"--reg_layers: cannot penalise '{layer.name}', {why}")
    return penalised
