"""Gradients of a network's logits with respect to its input, one way per backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ferplus_keras.errors import InputError

if TYPE_CHECKING:
    import keras

Gradient = Callable[[list[np.ndarray], np.ndarray], np.ndarray]
"""From the network's inputs and the (b,) int classes to the gradient of each row's logit."""


def gradient_of(model: keras.Model) -> Gradient:
    """Return the function that differentiates a network's logits by its first input.

    The network runs in inference mode: dropout is off, BatchNormalization uses its stored
    statistics, and no weight changes. Rows do not influence each other.

    Args:
        model: network of one or more inputs whose output is (b, C) logits.

    Returns:
        A function from inputs (float32 arrays, b rows each) and classes (b,) int to an array of
        the first input's shape: the derivative of `logits[i, classes[i]]`.

    Raises:
        InputError: Keras runs on a backend without gradients.
    """
    from keras.backend import backend

    ways = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    if backend() not in ways:
        raise InputError(
            f"gradients need Keras on {', '.join(ways)}, not on {backend()}; "
            "occlusion works without them"
        )
    differentiate = ways[backend()](model)
    one_hot = np.eye(model.output_shape[-1], dtype=np.float32)
    return lambda inputs, classes: differentiate(
        [np.asarray(x, np.float32) for x in inputs], one_hot[classes]
    )


def _as_given(inputs: list):
    """Return what a network is called with: a list, but its only input bare."""
    return inputs if len(inputs) > 1 else inputs[0]


def _tensorflow(model: keras.Model):
    import tensorflow as tf

    @tf.function(reduce_retracing=True)
    def compute(inputs, chosen):
        with tf.GradientTape() as tape:
            tape.watch(inputs[0])
            score = tf.reduce_sum(model(_as_given(inputs), training=False) * chosen)
        return tape.gradient(score, inputs[0])

    return lambda inputs, chosen: compute(
        [tf.constant(x) for x in inputs], tf.constant(chosen)
    ).numpy()


def _jax(model: keras.Model):
    import jax

    def score(first, others, chosen, trainable, fixed):
        inputs = _as_given([first, *others])
        logits, _ = model.stateless_call(trainable, fixed, inputs, training=False)
        return (logits * chosen).sum()

    compute = jax.jit(jax.grad(score))

    def differentiate(inputs, chosen):
        # Weights travel as arguments: as constants they would be compiled into the program.
        trainable = [variable.value for variable in model.trainable_variables]
        fixed = [variable.value for variable in model.non_trainable_variables]
        return np.asarray(compute(inputs[0], inputs[1:], chosen, trainable, fixed))

    return differentiate


def _torch(model: keras.Model):
    import torch
    from keras import ops

    def differentiate(inputs, chosen):
        first, *others = (ops.convert_to_tensor(x) for x in inputs)
        first.requires_grad_(True)
        with torch.enable_grad():
            logits = model(_as_given([first, *others]), training=False)
            score = (logits * ops.convert_to_tensor(chosen)).sum()
        return torch.autograd.grad(score, first)[0].cpu().numpy()

    return differentiate
