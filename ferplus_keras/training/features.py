"""Compute the frozen part of a network once, and train the rest on what it gave."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ferplus_keras.data.batches import Batches
from ferplus_keras.data.cache import new_array
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.models.freeze import Boundary
from ferplus_keras.progress import progress_bar
from ferplus_keras.training.devices import use_xla
from ferplus_keras.training.prepare import Prepared
from ferplus_keras.workspace import workspace


def cut_network(prepared: Prepared, boundary: Boundary) -> tuple[keras.Model, keras.Model]:
    """Cut a network before the first layer that trains.

    Dropout and flattening right before it stay with it: they cost nothing, and dropout is random.

    Args:
        prepared: its network, frozen up to `boundary` and compiled, is not changed.
        boundary: what `freeze_before` returned.

    Returns:
        The frozen part, from faces to features, and the rest, from features to probabilities,
        compiled like the network, with its optimiser. Both share its layers.

    Raises:
        UsageError: nothing is frozen, several devices share batches, more than one map crosses
            the boundary, or a layer of the frozen part is random.
    """
    model, layers = prepared.model, keras.layers
    if prepared.batches.shares:
        raise UsageError("--cache_features needs one process on one device")
    if not boundary.frozen_layers:
        raise UsageError("--cache_features needs frozen layers: give --freeze_before")
    first = model.layers.index(model.get_layer(boundary.name))
    while isinstance(model.layers[first - 1], (layers.Dropout, layers.Flatten)):
        first -= 1
    before, after = model.layers[:first], model.layers[first:]
    inputs = [tensor for layer in after for tensor in keras.tree.flatten(layer.input)]
    cut = {id(one): one for one in inputs if one._keras_history.operation in before}
    random = [layer.name for layer in before if isinstance(layer, layers.Dropout) and layer.rate]
    if random or len(cut) > 1:
        why = f"{random[0]} before it is random" if random else f"{len(cut)} maps lead there"
        raise UsageError(
            f"--cache_features cannot cut the network at {boundary.name}: {why}; choose another "
            "--freeze_before"
        )
    (features,) = cut.values()
    frozen, rest = keras.Model(model.input, features), keras.Model(features, model.output)
    rest.compile(model.optimizer, prepared.loss, metrics=prepared.metrics, jit_compile=use_xla())
    return frozen, rest


@contextmanager
def cached(
    prepared: Prepared, frozen: keras.Model, copies: int, folder: Path
) -> Iterator[tuple[Features, Features]]:
    """Compute the features of `copies` epochs of training batches, and of the validation batches.

    They are kept in a file in `folder` that is removed at the end.

    Raises:
        InputError: the file does not fit.
    """
    shape = (copies * prepared.batches.rows + prepared.validation.rows, *frozen.output.shape[1:])
    folder.mkdir(parents=True, exist_ok=True)
    with workspace(folder) as work:  # which removes what a killed process left
        try:
            values = new_array(work / "features.npy", np.float32, shape)
        except OSError:
            raise InputError(
                f"--cache_features {copies} needs {4 * prod(shape) / 1e9:.1f} GB in {folder}, more "
                "than is free; take fewer copies, a later --freeze_before or another --cache_dir"
            ) from None
        first, last = np.split(values, [-prepared.validation.rows])
        with progress_bar(total=len(values), desc="features", unit=" images") as bar:
            training = Features(prepared.batches, copies, frozen, first, bar)
            validation = Features(prepared.validation, 1, frozen, last, bar)
        yield training, validation


class Features(keras.utils.PyDataset):
    """The features that the frozen part computes for `Batches`, as batches of the same sizes.

    The first `copies` epochs have the rows and augmentation of those of `batches`. Later epochs
    repeat these copies with their rows in a new order.
    """

    def __init__(
        self, batches: Batches, copies: int, frozen: keras.Model, values: np.ndarray, bar: Any
    ) -> None:
        super().__init__(workers=1)
        self.rows, self.batch_size, self.seed = batches.rows, batches.batch_size, batches.seed
        self.copies, self._length = copies, len(batches)
        self._features = values.reshape(copies, self.rows, *values.shape[1:])
        others: list[tuple[np.ndarray, ...]] = []  # targets and, where there are any, weights
        for copy in range(copies):
            batches.set_epoch(copy)
            for index in range(len(batches)):
                images, *rest = batches[index]
                count = len(images)
                full = images[np.arange(self.batch_size) % count]  # a new shape is compiled again
                start = index * self.batch_size
                found = frozen.predict_on_batch(full)[:count]
                self._features[copy, start : start + count] = found
                others.append(tuple(rest))
                bar.update(count)
        self._others = [
            np.concatenate(parts).reshape(copies, self.rows, *parts[0].shape[1:])
            for parts in zip(*others, strict=True)
        ]
        self.set_epoch(0)

    def __len__(self) -> int:
        return self._length

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch (0-based)."""
        self._copy, self._order = epoch % self.copies, np.arange(self.rows)
        if epoch >= self.copies:
            self._order = np.random.default_rng([self.seed, epoch]).permutation(self.rows)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        """Return features (b, ...), targets (b, C) and, with class weights, weights (b,)."""
        rows = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        return tuple(array[self._copy][rows] for array in (self._features, *self._others))
