"""What `fit`, `evaluate` and `predict` read: faces and targets, batch by batch."""

import math
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import keras
import numpy as np

from ferplus_keras.data.augment import SAMPLINGS, cutmix, mixup, smooth
from ferplus_keras.data.augment import augmentation as find_augmentation
from ferplus_keras.data.targets import Split
from ferplus_keras.errors import UsageError
from ferplus_keras.hardware import cores

_ORDER, _PIXELS, _TARGETS, _MIX = range(4)
"""Streams of random numbers under one (seed, epoch), so that no use shares another's draws."""


class _Epoch(NamedTuple):
    number: int
    order: np.ndarray  # (n,) int64: rows as they are read


class Batches(keras.utils.PyDataset):
    """A split as a sequence of batches, each a function of (seed, epoch, position) alone.

    Keras counts no epochs for its data sets, so a callback's `on_epoch_begin` calls `set_epoch`.
    Pass `shuffle=False` to `fit`: its own order is drawn from Python's global `random`. Keras's
    worker threads are not used: in Keras 3.15 they hand an epoch's last batches to the next epoch.

    Args:
        split: images (n, s, s) or (n, s, s, 3) uint8, targets (n, C) float32.
        batch_size: rows per batch; the last, short one is kept.
        augmentation: name of a row of `augment.PRESETS`.
        sampling: row of `augment.SAMPLINGS` that says which rows an epoch reads; None reads every
            row in order.
        seed: of everything random here, at least 0.
        class_weights: C numbers; adds sample weights to the batch.
        draw: replace each target by one class drawn from it, again in every epoch.
        label_smoothing: share of each target that is spread evenly over all classes.
        mixup_alpha: blends each face with another of its batch; 0 is off.
        cutmix_alpha: pastes a part of another face of the batch; 0 is off. With both, each batch
            draws one of them.
        workers: threads that prepare batches ahead; 0 prepares each when it is asked for. None is
            one per processor core, at most 8, but a single one for small faces: the many short
            calls for these make threads wait for each other.
        shares: several devices or processes that share each batch, with the methods `own` and
            `place` of `training.devices.Devices`; None for one device.

    Raises:
        UsageError: an unknown name, a number out of range, other faces, or unmixable targets.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        augmentation: str = "none",
        sampling: str | None = "shuffled",
        seed: int = 0,
        class_weights: Sequence[float] | np.ndarray | None = None,
        draw: bool = False,
        label_smoothing: float = 0.0,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        workers: int | None = None,
        shares: Any = None,
    ):
        super().__init__(workers=1)
        least = (batch_size - 1, seed, workers or 0, mixup_alpha, cutmix_alpha)
        if min(least) < 0 or not 0 <= label_smoothing < 1:
            raise UsageError(
                "expected batch_size of at least 1, seed, workers and alphas of at least 0, "
                f"label_smoothing from 0 to below 1; got {batch_size}, {seed}, {workers}, "
                f"{mixup_alpha}, {cutmix_alpha}, {label_smoothing}"
            )
        shape, images = (split.targets.shape[1],), split.images
        if images.dtype != np.uint8 or images.shape[3:] not in ((), (3,)):
            faces = "(n, s, s) or (n, s, s, 3) uint8, 0 to 255"
            raise UsageError(f"expected faces {faces}; got {images.shape} {images.dtype}")
        if class_weights is not None and np.shape(class_weights) != shape:
            raise UsageError(f"expected class_weights of shape {shape}, got {class_weights}")
        self.split, self.batch_size, self.seed = split, batch_size, seed
        self.draw, self.label_smoothing, self.shares = draw, label_smoothing, shares
        self._sample = SAMPLINGS[sampling] if sampling else None
        self._mixes = [mix for mix in ((mixup, mixup_alpha), (cutmix, cutmix_alpha)) if mix[1]]
        if not split.kind.mixable and (label_smoothing or self._mixes):
            raise UsageError(
                "label smoothing, mixup and CutMix need targets that are distributions; each of "
                f"these is a {split.kind.name}"
            )
        self._augment = find_augmentation(augmentation)
        self.class_weights = class_weights
        if workers is None:
            small = math.prod(images.shape[1:]) < 2**14
            workers = 1 if small else min(cores(), 8)
        self._pool = ThreadPoolExecutor(workers, "batches") if workers else None
        self._process = os.getpid()  # a fork has none of its threads
        self._lookahead = 2 * workers + 1
        self._ahead: dict[int, Future] = {}
        self._lock = threading.Lock()
        self.set_epoch(0)

    @property
    def rows(self) -> int:
        """Rows per epoch."""
        return len(self.split.images)

    def __len__(self) -> int:
        return math.ceil(self.rows / self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch (0-based): later reads take its order, changes and draws."""
        order = np.arange(self.rows)
        if self._sample:
            rng = np.random.default_rng([self.seed, epoch, _ORDER])
            order = self._sample(self.split.targets, rng)
        with self._lock:
            for future in self._ahead.values():
                future.cancel()
            self._ahead = {}
            self._epoch = _Epoch(epoch, order)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        """Return batch `index` of the current epoch; raises IndexError.

        Images (b, s, s) or (b, s, s, 3) uint8, targets (b, C) float32 and, where there are class
        weights, sample weights (b,) float32: those of the target's classes, before smoothing. With
        `shares`, this is what `shares.place` makes of them.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"expected a batch index of 0 to {len(self) - 1}; got {index}")
        if self._pool is None or self._process != os.getpid():
            return self._prepare(self._epoch, index)
        with self._lock:
            for later in range(index, min(index + self._lookahead, len(self))):
                if later not in self._ahead:
                    self._ahead[later] = self._pool.submit(self._prepare, self._epoch, later)
            wanted = self._ahead.pop(index)
        return wanted.result()

    def _prepare(self, epoch: _Epoch, index: int) -> tuple[np.ndarray, ...]:
        rows = self._rows(epoch, index)
        own = self.shares.own(len(rows)) if self.shares else slice(len(rows))
        # Mixing needs the faces of all rows.
        images = self._changed(rows, epoch, index, own=slice(len(rows)) if self._mixes else own)
        targets = self.split.targets[rows]
        if self.draw:  # one class of each row, by its share
            rng = np.random.default_rng([self.seed, epoch.number, _TARGETS, index])
            bounds = np.cumsum(targets, axis=1)
            drawn = np.sum(bounds <= rng.random((len(rows), 1)) * bounds[:, -1:], axis=1)
            targets = np.eye(targets.shape[1], dtype=np.float32)[drawn]
        plain = targets  # what rows are weighed by
        if self.label_smoothing:
            targets = smooth(targets, self.label_smoothing)
        if self._mixes:
            rng = np.random.default_rng([self.seed, epoch.number, _MIX, index])
            mix, alpha = self._mixes[rng.integers(len(self._mixes))]
            images, both = mix(images, np.hstack([targets, plain]), alpha, rng)
            targets, plain = np.split(both, 2, axis=1)
        batch = images, targets
        if self.class_weights is not None:
            weights = plain @ np.asarray(self.class_weights, np.float32)
            batch = *batch, weights / plain.sum(axis=1)
        if not self.shares:
            return batch
        return self.shares.place(tuple(array[own] for array in batch), len(rows))

    def _rows(self, epoch: _Epoch, index: int) -> np.ndarray:
        """Return the rows of a batch, (b,) int64."""
        return epoch.order[index * self.batch_size : (index + 1) * self.batch_size]

    def _changed(
        self, rows: np.ndarray, epoch: _Epoch, index: int, *view: int, own: slice = slice(None)
    ) -> np.ndarray:
        """Return the faces of a batch, augmented; another `view` of it draws other changes.

        Those outside `own` are not read.
        """
        draws = (self.seed, epoch.number, _PIXELS, index, *view)
        read = self.split.images[rows[own]]
        images, mine = np.zeros((len(rows), *read.shape[1:]), np.uint8), np.zeros(len(rows), bool)
        images[own] = read
        mine[own] = True
        return self._augment(images, draws, mine)
