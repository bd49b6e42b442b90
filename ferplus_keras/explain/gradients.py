"""Gradients of a network's logits with respect to its input, one way per backend."""

from collections.abc import Callable

import keras
import numpy as np

from ferplus_keras.errors import InputError
from ferplus_keras.lazy import jax, tf, torch


def gradient_of(model: keras.Model) -> Callable[..., np.ndarray]:
    """Return the function that differentiates a network's logits by its first input.

    It takes the (b,) int classes and the network's inputs, and returns the gradient of each row's
    logit. The network, of one or more inputs and (b, C) logits, runs in inference mode: dropout is
    off, BatchNormalization uses its stored statistics, and no weight changes.

    Raises:
        InputError: Keras runs on a backend without gradients.
    """
    by_backend = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    backend = keras.backend.backend()
    if backend not in by_backend:
        raise InputError(
            f"gradients need Keras on {', '.join(by_backend)}, not on {backend}; "
            "occlusion works without them"
        )

    def score(inputs, chosen, call=model):
        given = inputs if len(inputs) > 1 else inputs[0]
        return keras.ops.sum(call(given, training=False) * chosen)

    differentiate = by_backend[backend](model, score)
    one_hot = np.eye(model.output_shape[-1], dtype=np.float32)
    return lambda classes, *inputs: differentiate(inputs, one_hot[classes])


def _tensorflow(model: keras.Model, score: Callable):
    @tf.function(reduce_retracing=True)
    def compute(inputs, chosen):
        with tf.GradientTape() as tape:
            tape.watch(inputs[0])
            total = score(inputs, chosen)
        return tape.gradient(total, inputs[0])

    return lambda inputs, chosen: compute(list(map(tf.constant, inputs)), chosen).numpy()


def _jax(model: keras.Model, score: Callable):
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
    def differentiate(inputs, chosen):
        inputs = [keras.ops.convert_to_tensor(x) for x in inputs]
        inputs[0].requires_grad_(True)
        with torch.enable_grad():
            total = score(inputs, keras.ops.convert_to_tensor(chosen))
        return torch.autograd.grad(total, inputs[0])[0].cpu().numpy()

    return differentiate
