"""Labelled rows: what their targets mean, and how classes are merged, renamed and left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from ferplus_keras.data import cache
from ferplus_keras.emotions import check_class_names
from ferplus_keras.errors import UsageError, unknown

LEFT_OUT = "the class is left out"

_ROUNDING = 1e-6
"""Equal shares may differ by this after they are added up."""


@dataclass(frozen=True)
class TargetKind:
    """A meaning of targets (n, C) float32: here, shares of the classes that sum to 1."""

    name: str
    loss: str = "categorical_crossentropy"  # the default
    accuracy: str = "categorical_accuracy"  # the training metric that counts right predictions
    mixable: bool = True  # by mixup, CutMix, label smoothing and teachers

    def labels(self, targets: np.ndarray, probabilities: np.ndarray | None = None) -> np.ndarray:
        """Return the class against which each prediction is scored, (n,) int64.

        A prediction is right where its most probable class is this one; its log loss is that of
        this class's probability. `probabilities` are (n, C), votes for the class that describes
        the row best, or None.
        """
        return targets.argmax(axis=1)

    def merge(self, targets: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return targets of merged classes, (n, M) float32, and which rows lose their label, (n,).

        Shares add up over the classes merged and are divided by what is left. A row is lost where
        one class that is left out holds more than every merged class. `members` are (C, M)
        float32, 1 where a class goes into a merged one.
        """
        merged = targets @ members
        left_out = (targets * ~members.any(axis=1)).max(axis=1)
        lost = left_out > merged.max(axis=1) + _ROUNDING
        total = merged.sum(axis=1, keepdims=True)
        return np.divide(merged, total, out=merged, where=total > 0), lost


@dataclass(frozen=True)
class RightSet(TargetKind):
    """Targets that are 1 for every class that counts as right, and 0 elsewhere."""

    def labels(self, targets: np.ndarray, probabilities: np.ndarray | None = None) -> np.ndarray:
        """Return the right class with the highest probability; the first without predictions."""
        if probabilities is None:
            return targets.argmax(axis=1)
        return np.where(targets > 0, probabilities, -1).argmax(axis=1)

    def merge(self, targets: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return merged sets: a class is right where one that went into it was; none left: lost."""
        merged = np.minimum(targets @ members, 1)
        return merged, merged.max(axis=1) == 0


ONE_CLASS = TargetKind("one class")
DISTRIBUTION = TargetKind("distribution")
RIGHT_SET = RightSet(
    "set of right classes", loss="multi_target", accuracy="multi_target_accuracy", mixable=False
)


class Labels(NamedTuple):
    """The targets of rows, and which rows have none."""

    targets: np.ndarray  # (n, C) float32, zeros where the row is dropped
    reasons: np.ndarray  # (n,) str, why the row is dropped, "" where it is kept

    @property
    def keep(self) -> np.ndarray:
        """Which rows are kept, (n,) bool."""
        return self.reasons == ""

    @classmethod
    def of(cls, targets: np.ndarray, drop: dict[str, np.ndarray]) -> Self:
        """Return labels without the rows of `drop`, reason -> (n,) bool; the first one counts."""
        reasons = np.select(list(drop.values()), list(drop), default="")
        return cls((targets * (reasons == "")[:, None]).astype(np.float32), reasons)

    def without(self, rows: np.ndarray, reason: str) -> Self:
        """Return labels that drop `rows`, (n,) bool, too; rows dropped before keep their reason."""
        reasons = np.where(rows & self.keep, reason, self.reasons)
        return self._replace(targets=self.targets * ~rows[:, None], reasons=reasons)

    def replaced(self, rows: np.ndarray, labels: Self) -> Self:
        """Return these labels with the other labels at `rows`, (n,) bool."""
        targets = np.where(rows[:, None], labels.targets, self.targets)
        reasons = np.where(rows, labels.reasons, self.reasons)
        return self._replace(targets=targets, reasons=reasons)


class Split(NamedTuple):
    """The kept rows of one split, in the order of the files.

    Attributes:
        images: (n, s, s) grey or (n, s, s, 3) RGB, uint8; read-only where no row was dropped. Of
            more than 256 MB, the rows stay on disk and are arrays once they are indexed.
        targets: (n, C) float32, as the label rule makes them.
        row_ids: (n,) int64, row of fer2013.csv, or place in the sorted list of own pictures.
        class_names: names of the C columns of `targets`.
        leaked: (n,) bool, as `Source.leaked`, of all rows of the files; None where the split was
            not loaded but put together.
        paths: (n,) str, files of own pictures below the data folder; else None.
        digests: (n,) uint64, alike where own pictures are, at any face size and colour; else None.
        kind: what the targets mean.
    """

    images: np.ndarray
    targets: np.ndarray
    row_ids: np.ndarray
    class_names: tuple[str, ...]
    leaked: np.ndarray | None = None
    paths: np.ndarray | None = None
    digests: np.ndarray | None = None
    kind: TargetKind = ONE_CLASS

    def __repr__(self) -> str:
        return f"<Split: images {self.images.shape}, {self.kind.name} of {self.class_names}>"

    def labels(self, probabilities: np.ndarray | None = None) -> np.ndarray:
        """Return the class against which each row's prediction is scored: `TargetKind.labels`."""
        return self.kind.labels(self.targets, probabilities)

    def take(self, rows: np.ndarray) -> Self:
        """Return the split's rows at these positions, (m,) int, or under a mask, (n,) bool."""
        rows = np.arange(len(self.row_ids))[rows]
        columns = self._replace(images=None)._asdict().items()
        taken = {k: v[rows] for k, v in columns if isinstance(v, np.ndarray)}
        return self._replace(images=cache.take(self.images, rows), **taken)


ClassMap = dict[str, tuple[str, ...]]
"""Each of the C new classes, in the order of the targets -> the old classes that it is made of."""


def find_class_map(entries: Sequence[str] | None, class_names: Sequence[str] | None) -> ClassMap:
    """Return the classes that `entries` make of the old classes `class_names`; None takes any.

    Each entry is "NEW=OLD" or "NEW=OLD+OLD"; other classes are left out. None keeps all classes.

    Raises:
        UsageError: an entry is not of that form, names an unknown class or one that is named
            already, or there are fewer than two new classes.
        InputError: `check_class_names` refuses a new name.
    """
    if entries is None:
        return {name: (name,) for name in class_names}
    members: ClassMap = {}
    named: set[str] = set()
    for entry in entries:
        new, _, old = (part.strip() for part in entry.partition("="))
        if new in members:
            raise UsageError(
                f"--class_map: '{new}' appears before '=' twice; join its classes with '+'"
            )
        members[new] = tuple(name.strip() for name in old.split("+"))
        if not new or not all(members[new]):
            raise UsageError(
                f"--class_map: expected NEW=OLD or NEW=OLD+OLD, such as negative=sadness+anger, "
                f"got '{entry}'"
            )
        for name in members[new]:
            if class_names is not None and name not in class_names:
                raise unknown("class in --class_map", name, class_names)
            if name in named:
                raise UsageError(
                    f"--class_map: the class '{name}' is named twice; it can go to only one class"
                )
            named.add(name)
    if len(members) < 2:
        raise UsageError(
            f"--class_map: expected two new classes or more, got {len(members)}; classes that are "
            "to stay as they are must be named too, such as neutral=neutral"
        )
    check_class_names(members, "--class_map")
    return members


def merge_classes(
    labels: Labels, class_names: Sequence[str], class_map: ClassMap, kind: TargetKind = DISTRIBUTION
) -> Labels:
    """Return labels of the old classes `class_names`, merged as the kind of the targets says."""
    if [*class_map.items()] == [(name, (name,)) for name in class_names]:
        return labels
    members = [[old in of_new for of_new in class_map.values()] for old in class_names]
    targets, lost = kind.merge(labels.targets, np.array(members, np.float32))
    return labels._replace(targets=targets).without(lost, LEFT_OUT)
