"""Where a run computes, and in which precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import keras

from ferplus_keras.errors import InputError, UsageError


def list_gpus() -> list[str]:
    """Return the GPUs that the Keras backend sees, such as ["gpu:0"]."""
    if keras.backend.backend() == "torch":
        import torch

        return [f"gpu:{index}" for index in range(torch.cuda.device_count())]
    return [name for name in keras.distribution.list_devices() if not name.startswith("cpu")]


def device_scope(num_gpus: int) -> AbstractContextManager:
    """Return the scope in which to build and compile a network for `num_gpus` GPUs.

    With several, each batch is shared between them, weights are mirrored and gradients averaged.

    Raises:
        InputError: there are fewer GPUs than that.
        UsageError: the backend cannot share batches through `fit`.
    """
    if num_gpus <= 1:
        return nullcontext()
    gpus, backend = list_gpus(), keras.backend.backend()
    if len(gpus) < num_gpus:
        raise InputError(f"--num_gpus {num_gpus}: {backend} sees {len(gpus)} GPU(s) here")
    if backend != "tensorflow":
        raise UsageError("--num_gpus above 1 needs KERAS_BACKEND=tensorflow")
    return _mirrored(tuple(gpus[:num_gpus])).scope()


@cache
def _mirrored(gpus: tuple[str, ...]):
    """Return the one strategy of these GPUs: an optimiser must belong to its weights' own."""
    import tensorflow as tf  # the only backend whose fit shares short batches between devices

    return tf.distribute.MirroredStrategy([name.upper() for name in gpus])


@contextmanager
def compute_dtype(mixed_precision: str) -> Iterator[None]:
    """Build layers that compute in "float16" or "bfloat16"; weights, input and output stay float32.

    "none" changes nothing.
    """
    before = keras.config.dtype_policy()
    if mixed_precision != "none":
        keras.config.set_dtype_policy(f"mixed_{mixed_precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def use_xla() -> bool | str:
    """Return the `jit_compile` setting: Keras' own choice, but not XLA on a CPU under TensorFlow.

    There XLA made the training step of ResNet50 slower (4.4 against 6.8 images/s on two cores).
    """
    on_cpu = keras.backend.backend() == "tensorflow" and not list_gpus()
    return False if on_cpu else "auto"
