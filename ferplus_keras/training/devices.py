"""Where a run computes, and in which precision."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ferplus_keras.errors import InputError, UsageError, is_out_of_memory
from ferplus_keras.lazy import jax, tf, torch
from ferplus_keras.models.layers import HEAD

TENSORFLOW_GAIN = {
    ("CompactFER", "jax"): 1.5,
    ("CompactFER", "torch"): 1.6,
    ("ResNet50", "jax"): 1.7,
    ("ResNet50", "torch"): 2.0,
    ("DlibResNet", "jax"): 2.9,
    ("DlibResNet", "torch"): 1.8,
}
"""How many times as fast TensorFlow trains in float32 as another backend, on a processor."""


def list_gpus() -> list[str]:
    """Return the GPUs that the Keras backend sees, such as ["gpu:0"]."""
    if keras.backend.backend() == "torch":  # for which Keras lists none
        return [f"gpu:{index}" for index in range(torch.cuda.device_count())]
    return [name for name in keras.distribution.list_devices() if not name.startswith("cpu")]


def device_scope(num_gpus: int) -> AbstractContextManager:
    """Return the scope in which to build and compile a network for `num_gpus` GPUs.

    Several, or several processes, share each batch; weights are mirrored, gradients averaged.

    Raises:
        InputError: there are fewer GPUs than that.
        UsageError: the backend cannot share batches through `fit`.
    """
    if devices := find_devices(num_gpus):
        return devices.scope()
    return _mirrored(tuple(list_gpus()[:num_gpus])).scope() if num_gpus > 1 else nullcontext()


def find_devices(num_gpus: int) -> Devices | None:
    """Return JAX' devices that share batches; None for one device and on TensorFlow.

    Args:
        num_gpus: GPUs of each process; CPU devices where JAX has nothing else.

    Raises:
        InputError, UsageError: as `device_scope`.
    """
    backend, number = keras.backend.backend(), max(num_gpus, 1)
    if backend == "torch" and number > 1:
        raise UsageError(
            "--num_gpus above 1 needs KERAS_BACKEND=jax, or tensorflow on one machine; Keras does "
            "not share batches on torch"
        )
    if backend != "jax":
        if number > 1 and (found := len(list_gpus())) < number:
            raise InputError(f"--num_gpus {number}: {backend} sees {found} GPU(s) here")
        return None
    found = len(jax.local_devices())
    if found < number:
        hint = f"; XLA_FLAGS=--xla_force_host_platform_device_count={number} makes virtual ones"
        kind = jax.default_backend()
        raise InputError(
            f"--num_gpus {number}: jax sees {found} {kind} device(s) here"
            + (hint if kind == "cpu" else "")
        )
    return _sharing(number) if number * jax.process_count() > 1 else None


@cache
def _sharing(number: int) -> Devices:
    """Return the one object for the first devices of each process: variables belong to it."""
    own = {process: jax.local_devices(process) for process in range(jax.process_count())}
    return Devices([f"{one.platform}:{one.id}" for all_ in own.values() for one in all_[:number]])


class Devices(keras.distribution.DataParallel):
    """Devices of one or several processes that share each batch, on JAX.

    Keras 3.15 places batches itself, but only those that can be split evenly, and leaves
    predictions spread over the devices of all processes. So batches are placed here, and networks
    use this object only while JAX traces them (`take_over`): XLA then pads and masks uneven
    batches, and every process gets all predictions.
    """

    def __init__(self, names: list[str]) -> None:
        super().__init__(devices=names, auto_shard_dataset=False)
        mesh, parts = self.device_mesh.backend_mesh, jax.sharding.PartitionSpec
        self.shared = jax.sharding.NamedSharding(mesh, parts("batch"))
        self.whole = jax.sharding.NamedSharding(mesh, parts())

    def get_tensor_layout(self, path: str):
        """Share out the rows once they are preprocessed, and gather the probabilities."""
        layouts = {"preprocessing/output": self.shared, f"{HEAD}/output": self.whole}
        return layouts.get("/".join(path.split("/")[-2:]))

    def _even(self, rows: int) -> bool:
        return rows % self.num_model_replicas == 0

    def own(self, rows: int) -> slice:
        """Return which of a batch's rows this process prepares: all where they are uneven."""
        if not self._even(rows):
            return slice(rows)
        each = rows // self.num_processes
        return slice(self.data_shard_id * each, (self.data_shard_id + 1) * each)

    def place(self, share: tuple[np.ndarray, ...], rows: int) -> tuple:
        """Return a batch of so many rows on the devices, given what `own` chose of each array."""
        layout = self.shared if self._even(rows) else self.whole
        return tuple(jax.make_array_from_process_local_data(layout, array) for array in share)

    def take_over(self, model: keras.Model) -> None:
        """Make a model of these devices run on batches as `place` returns them."""
        for name in ("train_step", "test_step", "predict_step"):
            step_within = self.scope()  # a context that is also a decorator
            setattr(model, name, step_within(getattr(model, name)))

    def predictor(self, model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
        """Return `predict_on_batch` of a model of these devices."""
        self.take_over(model)

        def predict(faces: np.ndarray) -> np.ndarray:
            rows = len(faces)
            return model.predict_on_batch(*self.place((faces[self.own(rows)],), rows))

        return predict


def faster_backend(network: str) -> str | None:
    """Return a note that TensorFlow, also installed, trains a network faster than this backend.

    None on a GPU, and where nothing was measured.
    """
    used = keras.backend.backend()
    times = TENSORFLOW_GAIN.get((network, used))
    if times is None or list_gpus() or not find_spec("tensorflow"):
        return None
    return (
        f"note: on a processor TensorFlow trains {network} {times} times as fast as {used}: set "
        "KERAS_BACKEND=tensorflow (docs/training.md)"
    )


def largest_batch(attempt: Callable[[int], Any], most: int) -> int:
    """Return the largest power of two up to `most` for which `attempt` finds enough memory.

    Raises:
        InputError: there is not enough for 1.
    """
    if not most:
        raise InputError("--batch_size auto: there is not enough memory for one face")

    def fits(size: int) -> bool:
        try:
            attempt(size)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    size = 2 ** (min(most, 32).bit_length() - 1)  # few are tried: each may be compiled
    if not fits(size):
        return largest_batch(attempt, size // 2)
    while 2 * size <= most and fits(2 * size):
        size *= 2
    return size


def training_batch(model: keras.Model, loss: Any, images: np.ndarray, targets: np.ndarray) -> int:
    """Return the largest batch on which a network can be trained, at most as many as the faces.

    On a GPU, steps of growing size are tried, and the network gets its weights back. On a processor
    the memory is estimated, since a process that asks for too much is killed.

    Args:
        model: frozen up to its boundary; compiled here.
        loss: as `compile` takes it.
        images: (n, s, s) or (n, s, s, 3) uint8.
        targets: (n, C) float32.
    """
    if not list_gpus():
        first = next(i for i, layer in enumerate(model.layers) if layer.trainable_weights)
        outputs = keras.tree.flatten([layer.output for layer in model.layers[first:]])
        # Each output and its gradient in float32, and the same again for everything else.
        needed = 16 * sum(math.prod(one.shape[1:]) for one in outputs)
        most = min(_free_memory() // needed, 256, len(images))
        return 2 ** (max(most, 1).bit_length() - 1)
    variables = model.variables
    before = [keras.ops.convert_to_numpy(variable) for variable in variables]
    model.compile("adam", loss, jit_compile=use_xla())

    def step(size: int) -> None:
        model.train_on_batch(np.repeat(images[:1], size, 0), np.repeat(targets[:1], size, 0))

    found = largest_batch(step, min(4096, len(images)))
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    return found


def _free_memory() -> int:
    with suppress(OSError, TypeError):
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
        return 1024 * int(re.search(r"^MemAvailable: *(\d+)", text, re.MULTILINE)[1])
    return 4 * 2**30  # macOS, Windows


@cache
def _mirrored(gpus: tuple[str, ...]):
    """Return the one strategy of these GPUs: an optimiser must belong to its weights' own."""
    return tf.distribute.MirroredStrategy([name.upper() for name in gpus])


@contextmanager
def compute_dtype(mixed_precision: str) -> Iterator[None]:
    """Build layers that compute in "float16" or "bfloat16"; weights, input and output stay float32.

    "none" is float32, whatever the user's own policy is, which is put back.
    """
    before, half = keras.config.dtype_policy(), mixed_precision
    keras.config.set_dtype_policy("float32" if half == "none" else f"mixed_{half}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def use_xla() -> bool | str:
    """Return the `jit_compile` setting: Keras' own choice, but not XLA on a CPU under TensorFlow.

    There XLA made the training step of ResNet50 slower (4.4 against 6.8 images/s on two cores).
    """
    return False if keras.backend.backend() == "tensorflow" and not list_gpus() else "auto"
