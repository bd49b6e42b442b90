"""The rows of one split, and which faces stand on both sides of training."""

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
        leaked: (n,) bool, as `leaked_rows` of all rows of the files, labelled or not; None where
            the split was not loaded but put together.
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
        columns = self._asdict().items()
        return self._replace(**{k: v[rows] for k, v in columns if isinstance(v, np.ndarray)})


def limit_split(split: Split, limit: int, seed: int) -> Split:
    """Return `limit` rows of a split, drawn by the seed, in row order; all where it has no more.

    Every class (of soft targets: the largest one) keeps its share, by the largest-remainder
    method.

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


def duplicate_groups(images: np.ndarray) -> np.ndarray:
    """Return for each face (n, ...) uint8 the first row with the same pixels, (n,) int64."""
    first: dict[bytes, int] = {}
    return np.array(
        [first.setdefault(image.tobytes(), row) for row, image in enumerate(images)], np.int64
    )


def leaked_rows(groups: np.ndarray, in_train: np.ndarray) -> np.ndarray:
    """Return which rows have a duplicate across the border of training, (n,) bool.

    For training rows that is a duplicate among validation or test rows, for the others one among
    training rows. `groups` are (n,) int as `duplicate_groups` returns them, `in_train` (n,) bool.
    """
    trained = np.bincount(groups[in_train], minlength=len(groups)) > 0
    tested = np.bincount(groups[~in_train], minlength=len(groups)) > 0
    return np.where(in_train, tested[groups], trained[groups])
