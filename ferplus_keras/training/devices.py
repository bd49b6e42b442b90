"""Where a run computes, and in which precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import keras
import numpy as np

from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.models.layers import HEAD


def list_gpus() -> list[str]:
    """Return the GPUs that TensorFlow or JAX sees, such as ["gpu:0"]."""
    return [name for name in keras.distribution.list_devices() if not name.startswith("cpu")]


def device_scope(num_gpus: int) -> AbstractContextManager:
    """Return the scope in which to build and compile a network for `num_gpus` GPUs.

    With several, or with several processes, each batch is shared between them, weights are mirrored
    and gradients averaged.

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
    import jax

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
    import jax

    own = {process: jax.local_devices(process) for process in range(jax.process_count())}
    return Devices([f"{one.platform}:{one.id}" for all_ in own.values() for one in all_[:number]])


class Devices(keras.distribution.DataParallel):
    """Devices of one or several processes that share each batch, on JAX.

    Keras 3.15 places batches itself, but none whose rows the devices do not share out evenly, and
    its predictions stay on the devices of all processes. So batches are placed here, and networks
    only look at this object while JAX traces them (`take_over`): XLA then pads and masks what does
    not come out even, and every process gets all predictions.
    """

    def __init__(self, names: list[str]) -> None:
        from jax.sharding import NamedSharding, PartitionSpec

        super().__init__(devices=names, auto_shard_dataset=False)
        mesh = self.device_mesh.backend_mesh
        self.shared = NamedSharding(mesh, PartitionSpec("batch"))
        self.whole = NamedSharding(mesh, PartitionSpec())

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
        import jax

        layout = self.shared if self._even(rows) else self.whole
        return tuple(jax.make_array_from_process_local_data(layout, array) for array in share)

    def take_over(self, model: keras.Model) -> None:
        """Make a model of these devices run on batches as `place` returns them."""
        for name in ("train_step", "test_step", "predict_step"):
            setattr(model, name, self._traced(getattr(model, name)))

    def _traced(self, step: Callable) -> Callable:
        def traced(*arguments):
            with self.scope():
                return step(*arguments)

        return traced

    def predictor(self, model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
        """Return `predict_on_batch` of a model of these devices."""
        self.take_over(model)

        def predict(faces: np.ndarray) -> np.ndarray:
            rows = len(faces)
            return model.predict_on_batch(*self.place((faces[self.own(rows)],), rows))

        return predict


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
