"""What a data set is, and the table of them, which `dataset.py` completes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ferplus_keras.data.labels import LabelRule
from ferplus_keras.data.targets import Labels
from ferplus_keras.registry import Registry


class FileRows(NamedTuple):
    """What the files of a data set hold, row by row, before any label rule."""

    opinions: np.ndarray  # what rules apply to: votes (n, 10) int, or one-hot labels (n, C) float32
    splits: np.ndarray  # (n,) str: train, validation or test
    images: np.ndarray | None  # (n, s, s) or (n, s, s, 3) uint8; None where only votes were read
    class_names: tuple[str, ...]  # that label rules distinguish, in the order of their targets
    hashes: dict[str, str]  # file name -> SHA-256 of every file; of own pictures one, "pictures"
    paths: np.ndarray | None = None  # (n,) str; None where all rows are of one file
    names: np.ndarray | None = None  # (n,) str, of the image of a row of that file, "" for none
    skipped: dict[str, str] | None = None  # path -> why it could not be read
    digests: np.ndarray | None = None  # (n,) uint64, alike where pictures are; None: see the images


Read = Callable[..., FileRows]
"""From data folder, cache folder (None for the usual one) and, where `LabelSet.own_pictures`,
keywords to the rows."""


@dataclass(frozen=True)
class LabelSet:
    """One data set: faces with a way to label them."""

    name: str
    description: str
    read: Read
    class_names: tuple[str, ...]  # as in the targets, others are left out; () where files say which
    rules: Mapping[str, LabelRule]  # where there is but one, it applies whatever is chosen
    uses_votes: bool = False  # whether rules apply to the votes of fer2013new.csv
    own_pictures: bool = False  # whether `read` takes keywords, as `folder.read_folder` does

    def rule(self, name: str) -> LabelRule:
        """Return the rule called `name`, or the only rule; raises UsageError for an unknown one."""
        return next(iter(self.rules.values())) if len(self.rules) == 1 else self.rules[name]


DATASETS: Registry[LabelSet] = Registry("data set")
"""Every data set by name; import it from `ferplus_keras.data.dataset`, where all are entered."""


def data_set(
    name: str, description: str, class_names: Sequence[str] = (), **attributes: object
) -> Callable[[Read], Read]:
    """Return a decorator that enters a reading function in `DATASETS`, as `LabelSet` has it."""
    return DATASETS.register(
        name, lambda read: LabelSet(name, description, read, tuple(class_names), **attributes)
    )


def only_rule(name: str, description: str) -> dict[str, LabelRule]:
    """Return the rules of a data set whose rows have one label each, which is taken as it is."""

    def apply(labels: np.ndarray) -> Labels:
        return Labels(labels, np.full(len(labels), ""))

    return {name: LabelRule(name, description, apply, evaluate_with=name)}
