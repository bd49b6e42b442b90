"""Faces with their labels: both files read, checked against each other, labelled and split."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.data.fer_csv import Fer2013, read_fer2013
from ferplus_keras.data.fer_files import Fer2013Missing
from ferplus_keras.data.label_counts import count_labels, format_label_counts
from ferplus_keras.data.label_sets import DATASETS, LabelSet, find_label_set
from ferplus_keras.data.votes import LabelRule, Labels
from ferplus_keras.data.votes_csv import Votes, read_votes
from ferplus_keras.emotions import SPLITS
from ferplus_keras.errors import InputError, UsageError, unknown

__all__ = [
    "DATASETS",
    "Dataset",
    "Split",
    "format_label_counts",
    "label_counts",
    "limit_split",
    "load_dataset",
    "load_split",
]


class Split(NamedTuple):
    """The kept rows of one split, in the order of fer2013.csv.

    Attributes:
        images: (n, 48, 48) uint8 grey levels, 0-255; read-only where no row was dropped.
        targets: (n, C) float32, as the label rule makes them.
        row_ids: (n,) int64, row of fer2013.csv, counted from 0.
        class_names: names of the C columns of `targets`.
    """

    images: np.ndarray
    targets: np.ndarray
    row_ids: np.ndarray
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """All splits, ready for training.

    Attributes:
        name: row of `DATASETS`.
        label_rule: name of the rule that labels the training rows.
        class_names: names of the C classes, in the order of the targets.
        splits: "train", "validation" and "test".
        draw: whether training draws one class from the target, anew at every read.
        evaluation_rule: name of the rule that labels the validation and test rows.
        counts: rows and classes as `label_counts` gives them.
        hashes: file name to SHA-256 of every file read.
    """

    name: str
    label_rule: str
    class_names: tuple[str, ...]
    splits: dict[str, Split]
    draw: bool
    evaluation_rule: str
    counts: dict
    hashes: dict[str, str]


class _Source(NamedTuple):
    """What the files hold, row by row: what rules apply to, and the faces where they were read."""

    opinions: np.ndarray
    usage: np.ndarray
    images: np.ndarray | None
    hashes: dict[str, str]


def load_dataset(
    data_dir: str | Path,
    dataset_name: str = "FERPlus",
    label_rule: str = "majority",
    cache_dir: str | Path | None = None,
) -> Dataset:
    """Return all splits as training uses them.

    Training rows are labelled by `label_rule`, validation and test rows by the rule it is
    evaluated with.

    Args:
        data_dir: folder of fer2013.csv (and fer2013new.csv for FERPlus).
        dataset_name: row of `DATASETS`.
        label_rule: row of `votes.LABEL_RULES`; does not apply to FER.
        cache_dir: where parsed pixels are kept; None for the usual place.

    Raises:
        UsageError: an unknown data set or label rule.
        InputError: a file is missing or damaged, the two files do not belong together, or a split
            has no rows.
    """
    label_set = find_label_set(dataset_name)
    rule = label_set.rule(label_rule)
    evaluation = label_set.rule(rule.evaluate_with)
    source = _read(label_set, data_dir, cache_dir)
    labels = dict.fromkeys(SPLITS, evaluation.apply(source.opinions))
    labels["train"] = rule.apply(source.opinions)
    return Dataset(
        name=label_set.name,
        label_rule=rule.name,
        class_names=label_set.class_names,
        splits={split: _split(source, split, labels[split], label_set) for split in SPLITS},
        draw=rule.draw,
        evaluation_rule=evaluation.name,
        counts=_counts(label_set, rule, evaluation, source.usage, labels),
        hashes=source.hashes,
    )


def load_split(
    data_dir: str | Path,
    split: str,
    dataset_name: str = "FERPlus",
    label_rule: str = "majority",
    cache_dir: str | Path | None = None,
) -> Split:
    """Return one split, labelled by exactly `label_rule`, whatever split it is.

    Args:
        data_dir: as for `load_dataset`.
        split: "train", "validation" or "test".
        dataset_name: as for `load_dataset`.
        label_rule: as for `load_dataset`.
        cache_dir: as for `load_dataset`.

    Raises:
        UsageError: an unknown split, data set or label rule.
        InputError: as `load_dataset`.

    Example:
        >>> load_split("data", "test").images.shape  # doctest: +SKIP
        (3275, 48, 48)
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    label_set = find_label_set(dataset_name)
    rule = label_set.rule(label_rule)
    source = _read(label_set, data_dir, cache_dir)
    return _split(source, split, rule.apply(source.opinions), label_set)


def label_counts(
    data_dir: str | Path,
    dataset_name: str = "FERPlus",
    label_rule: str = "majority",
    cache_dir: str | Path | None = None,
) -> dict:
    """Count what a label rule keeps of each split, and why it drops the rest.

    For FERPlus fer2013new.csv is enough; where fer2013.csv is there too, they are checked against
    each other.

    Args:
        data_dir: as for `load_dataset`.
        dataset_name: as for `load_dataset`.
        label_rule: as for `load_dataset`; labels every split here.
        cache_dir: as for `load_dataset`.

    Returns:
        Plain numbers and texts, ready for JSON: {"dataset_name", "label_rule", "evaluation_rule",
        "classes": [name, …], "splits": {split: counts, …}, "total": counts}, each counts being
        {"rows", "kept", "dropped", "reasons": {reason: rows}, "per_class": {name: rows}}. Under a
        rule with soft targets, the rows of a class are the sum of its targets.

    Raises:
        UsageError, InputError: as `load_dataset`; an empty split is counted, not refused.
    """
    label_set = find_label_set(dataset_name)
    rule = label_set.rule(label_rule)
    try:
        source = _read(label_set, data_dir, cache_dir)
    except Fer2013Missing:
        if not label_set.uses_votes:
            raise
        source = _votes_source(read_votes(data_dir))
    labels = dict.fromkeys(SPLITS, rule.apply(source.opinions))
    return _counts(label_set, rule, rule, source.usage, labels)


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
    classes = split.targets.argmax(axis=1)
    exact = np.bincount(classes, minlength=len(split.class_names)) * limit
    quotas = exact // rows
    by_remainder = np.argsort(-(exact % rows), kind="stable")
    quotas[by_remainder[: limit - quotas.sum()]] += 1
    rng = np.random.default_rng(seed)
    drawn = [
        rng.choice(np.flatnonzero(classes == index), quota, replace=False)
        for index, quota in enumerate(quotas)
    ]
    chosen = np.sort(np.concatenate(drawn))
    return split._replace(
        images=split.images[chosen], targets=split.targets[chosen], row_ids=split.row_ids[chosen]
    )


def _read(label_set: LabelSet, data_dir: str | Path, cache_dir: str | Path | None) -> _Source:
    """Read the files a label set needs, the small one first: its faults show at once."""
    votes = read_votes(data_dir) if label_set.uses_votes else None
    fer = read_fer2013(data_dir, cache_dir)
    hashes = {fer.source.name: fer.sha256}
    if votes is None:
        return _Source(fer.emotions, fer.usage, fer.images, hashes)
    _check_agreement(fer, votes)
    source = _votes_source(votes)
    return source._replace(images=fer.images, hashes=hashes | source.hashes)


def _votes_source(votes: Votes) -> _Source:
    return _Source(votes.votes, votes.usage, None, {votes.source.name: votes.sha256})


def _check_agreement(fer: Fer2013, votes: Votes) -> None:
    """Refuse files that are not row by row about the same faces, as far as `Usage` can tell."""
    shorter = min(len(fer.usage), len(votes.usage))
    differs = np.flatnonzero(fer.usage[:shorter] != votes.usage[:shorter])
    if differs.size:
        row = differs[0]
        raise InputError(
            f"{fer.source} and {votes.source} do not belong together: row {row + 1} (data rows "
            f"counted from 1) has Usage {fer.usage[row]} in one, {votes.usage[row]} in the other; "
            "get both anew, with their rows in the original order"
        )
    if len(fer.usage) != len(votes.usage):
        raise InputError(
            f"{fer.source} has {len(fer.usage)} rows, {votes.source} has {len(votes.usage)}: row "
            f"{shorter + 1} is in one of them only; the shorter file may be cut off: get it anew"
        )


def _split(source: _Source, name: str, labels: Labels, label_set: LabelSet) -> Split:
    in_split = source.usage == SPLITS[name]
    row_ids = np.flatnonzero(in_split & labels.keep)
    if not row_ids.size:
        raise InputError(
            f"expected rows for the {name} split of {label_set.name}, but of "
            f"{np.count_nonzero(in_split)} rows with Usage {SPLITS[name]} the label rule keeps "
            f"none; the files in use are {', '.join(source.hashes)}"
        )
    first, last = row_ids[0], row_ids[-1]
    unbroken = last - first + 1 == row_ids.size
    images = source.images[first : last + 1] if unbroken else source.images[row_ids]
    return Split(images, labels.targets[row_ids], row_ids, label_set.class_names)


def _counts(
    label_set: LabelSet,
    rule: LabelRule,
    evaluation: LabelRule,
    usage: np.ndarray,
    labels: Mapping[str, Labels],
) -> dict:
    names = {
        "dataset_name": label_set.name,
        "label_rule": rule.name,
        "evaluation_rule": evaluation.name,
    }
    return names | count_labels(usage, labels, label_set.class_names)
