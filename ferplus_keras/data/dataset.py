"""Faces with their labels: the files read, labelled by a rule and split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ferplus_keras.data.class_map import ClassMap, find_class_map, merge_classes
from ferplus_keras.data.duplicates import duplicate_groups
from ferplus_keras.data.fer_files import Fer2013Missing
from ferplus_keras.data.label_counts import count_labels, format_label_counts
from ferplus_keras.data.label_sets import DATASETS, LabelSet, find_label_set
from ferplus_keras.data.leaks import EXCLUDED, TWIN, leaked_rows, read_excluded
from ferplus_keras.data.sources import Source, ferplus_votes
from ferplus_keras.data.split import Split, limit_split
from ferplus_keras.data.votes import LabelRule, Labels
from ferplus_keras.emotions import SPLITS
from ferplus_keras.errors import InputError, unknown

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


def load_dataset(
    data_dir: str | Path,
    dataset_name: str = "FERPlus",
    label_rule: str = "majority",
    cache_dir: str | Path | None = None,
    evaluation_rule: str | None = None,
    *,
    class_map: Sequence[str] | None = None,
    drop_leaks: bool = False,
    exclude: str | Path | None = None,
) -> Dataset:
    """Return all splits as training uses them.

    Training rows are labelled by `label_rule`, validation and test rows by `evaluation_rule`.
    `drop_leaks` and `exclude` take training rows away, and only those.

    Args:
        data_dir: folder of fer2013.csv (and fer2013new.csv for FERPlus), or of own pictures.
        dataset_name: row of `DATASETS`.
        label_rule: row of `votes.LABEL_RULES`; applies to FERPlus and FERPlus7 only.
        cache_dir: where parsed pixels are kept; None for the usual place.
        evaluation_rule: row of `votes.LABEL_RULES`; None for the one that `label_rule` is
            evaluated with by its authors.
        class_map: merged or renamed classes, each "NEW=OLD" or "NEW=OLD+OLD"; classes that are not
            named are left out with their rows. None for the data set's own.
        drop_leaks: leave out the training rows with the pixels of a validation or test row.
        exclude: CSV file whose column `row` lists rows, as `Split.row_ids` numbers them, that are
            left out of training.

    Raises:
        UsageError: an unknown data set, label rule or class.
        InputError: a file is missing or damaged, the two files do not belong together, or a split
            has no rows.
    """
    label_set = find_label_set(dataset_name)
    rule = label_set.rule(label_rule)
    evaluation = label_set.rule(evaluation_rule or rule.evaluate_with)
    source, classes = _read(label_set, data_dir, cache_dir, class_map)
    leaked = _leaked(source)
    hashes = dict(source.hashes)
    labels = dict.fromkeys(SPLITS, _label(source, evaluation, classes))
    labels["train"] = _label(source, rule, classes)
    if exclude:
        excluded, hashes[Path(exclude).name] = read_excluded(exclude, len(leaked))
        labels["train"] = labels["train"].without(excluded, EXCLUDED)
    if drop_leaks:
        labels["train"] = labels["train"].without(leaked, TWIN)
    return Dataset(
        name=label_set.name,
        label_rule=rule.name,
        class_names=classes.names,
        splits={
            split: _split(label_set, source, split, labels[split], classes, leaked)
            for split in SPLITS
        },
        draw=rule.draw,
        evaluation_rule=evaluation.name,
        counts=_counts(label_set, rule, evaluation, source, labels, classes),
        hashes=hashes,
    )


def load_split(
    data_dir: str | Path,
    split: str,
    dataset_name: str = "FERPlus",
    label_rule: str = "majority",
    cache_dir: str | Path | None = None,
    *,
    class_map: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> Split:
    """Return one split, labelled by exactly `label_rule`, whatever split it is.

    Args:
        data_dir: as for `load_dataset`.
        split: "train", "validation" or "test".
        dataset_name: as for `load_dataset`.
        label_rule: as for `load_dataset`.
        cache_dir: as for `load_dataset`.
        class_map: as for `load_dataset`.
        class_names: columns that the targets are to have, such as the classes of a checkpoint;
            the data may lack some of them. None for the classes of the data.

    Raises:
        UsageError: an unknown split, data set, label rule or class.
        InputError: as `load_dataset`, or the data have a class that is not in `class_names`.

    Example:
        >>> load_split("data", "test").images.shape  # doctest: +SKIP
        (3275, 48, 48)
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    label_set = find_label_set(dataset_name)
    rule = label_set.rule(label_rule)
    source, classes = _read(label_set, data_dir, cache_dir, class_map)
    if class_names is not None:
        classes = classes.arranged(class_names)
    labels = _label(source, rule, classes)
    return _split(label_set, source, split, labels, classes, _leaked(source))


def label_counts(
    data_dir: str | Path,
    dataset_name: str = "FERPlus",
    label_rule: str = "majority",
    cache_dir: str | Path | None = None,
    class_map: Sequence[str] | None = None,
) -> dict:
    """Count what a label rule keeps of each split, and why it drops the rest.

    For FERPlus fer2013new.csv is enough; where fer2013.csv is there too, they are checked against
    each other.

    Args:
        data_dir: as for `load_dataset`.
        dataset_name: as for `load_dataset`.
        label_rule: as for `load_dataset`; labels every split here.
        cache_dir: as for `load_dataset`.
        class_map: as for `load_dataset`.

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
        source, classes = _read(label_set, data_dir, cache_dir, class_map)
    except Fer2013Missing:
        if not label_set.uses_votes:
            raise
        source = ferplus_votes(data_dir)
        classes = find_class_map(class_map, label_set.class_names)
    labels = dict.fromkeys(SPLITS, _label(source, rule, classes))
    return _counts(label_set, rule, rule, source, labels, classes)


def _read(
    label_set: LabelSet,
    data_dir: str | Path,
    cache_dir: str | Path | None,
    class_map: Sequence[str] | None,
) -> tuple[Source, ClassMap]:
    """Read the files, and find the classes: before that where they are known."""
    if label_set.class_names:
        classes = find_class_map(class_map, label_set.class_names)
        return label_set.read(data_dir, cache_dir), classes
    source = label_set.read(data_dir, cache_dir)
    return source, find_class_map(class_map, source.class_names)


def _label(source: Source, rule: LabelRule, classes: ClassMap) -> Labels:
    labels = rule.apply(source.opinions)
    return merge_classes(labels, source.class_names, classes, multi_hot=rule.multi_hot)


def _leaked(source: Source) -> np.ndarray:
    return leaked_rows(duplicate_groups(source.images), source.splits == "train")


def _split(
    label_set: LabelSet,
    source: Source,
    name: str,
    labels: Labels,
    classes: ClassMap,
    leaked: np.ndarray,
) -> Split:
    in_split = source.splits == name
    row_ids = np.flatnonzero(in_split & labels.keep)
    if not row_ids.size:
        raise InputError(
            f"expected rows for the {name} split of {label_set.name}, but of its "
            f"{np.count_nonzero(in_split)} rows none is kept; the data in use are "
            f"{', '.join(source.hashes)}"
        )
    first, last = row_ids[0], row_ids[-1]
    unbroken = last - first + 1 == row_ids.size
    return Split(
        images=source.images[first : last + 1] if unbroken else source.images[row_ids],
        targets=labels.targets[row_ids],
        row_ids=row_ids,
        class_names=classes.names,
        leaked=leaked[row_ids],
        paths=None if source.paths is None else source.paths[row_ids],
    )


def _counts(
    label_set: LabelSet,
    rule: LabelRule,
    evaluation: LabelRule,
    source: Source,
    labels: Mapping[str, Labels],
    classes: ClassMap,
) -> dict:
    names = {
        "dataset_name": label_set.name,
        "label_rule": rule.name,
        "evaluation_rule": evaluation.name,
    }
    return names | count_labels(source.splits, labels, classes.names)
