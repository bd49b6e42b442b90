"""The rows of one split: faces and targets."""

from typing import NamedTuple

import numpy as np

from ferplus_keras.data.targets import ONE_CLASS, TargetKind
from ferplus_keras.errors import UsageError


class Split(NamedTuple):
    """The kept rows of one split, in the order of the files.

    Attributes:
        images: (n, s, s) grey or (n, s, s, 3) RGB, uint8, 0-255; read-only where no row was
            dropped.
        targets: (n, C) float32, as the label rule makes them.
        row_ids: (n,) int64, row of fer2013.csv, counted from 0; of own pictures, place in the
            sorted list of their paths.
        class_names: names of the C columns of `targets`.
        leaked: (n,) bool, whether a face with the same pixels is in training; of a training row,
            whether one is in validation or test. Every row of the files counts, labelled or not.
            None where a split was not loaded but put together.
        paths: (n,) str, files of own pictures below the data folder; else None.
        kind: what the targets mean.
    """

    images: np.ndarray
    targets: np.ndarray
    row_ids: np.ndarray
    class_names: tuple[str, ...]
    leaked: np.ndarray | None = None
    paths: np.ndarray | None = None
    kind: TargetKind = ONE_CLASS

    def labels(self, probabilities: np.ndarray | None = None) -> np.ndarray:
        """Return the class against which each row's prediction is scored: `TargetKind.labels`."""
        return self.kind.labels(self.targets, probabilities)

    def take(self, rows: np.ndarray) -> "Split":
        """Return the split's rows at these positions, (m,) int."""
        arrays = {
            name: value[rows]
            for name, value in self._asdict().items()
            if isinstance(value, np.ndarray)
        }
        return self._replace(**arrays)


def limit_split(split: Split, limit: int, seed: int) -> Split:
    """Return `limit` rows of a split, drawn at random, in row order.

    Every class (of soft targets: the largest one) keeps its share, by the largest-remainder
    method. The same seed draws the same rows. A limit of at least all rows changes nothing.

    Args:
        split: any split.
        limit: rows to keep, 1 or more.
        seed: seed of the draw.

    Raises:
        UsageError: `limit` is below 1.
    """
    if limit < 1:
        raise UsageError(f"expected a limit of 1 row or more, not {limit}")
    rows = len(split.images)
    if limit >= rows:
        return split
    classes = split.labels()
    exact = np.bincount(classes, minlength=len(split.class_names)) * limit
    quotas = exact // rows
    by_remainder = np.argsort(-(exact % rows), kind="stable")
    quotas[by_remainder[: limit - quotas.sum()]] += 1
    rng = np.random.default_rng(seed)
    drawn = [
        rng.choice(np.flatnonzero(classes == index), quota, replace=False)
        for index, quota in enumerate(quotas)
    ]
    return split.take(np.sort(np.concatenate(drawn)))
