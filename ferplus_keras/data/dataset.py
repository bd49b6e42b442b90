"""Faces with their labels: the files read once, labelled by a rule and split."""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.data import ferplus, folder  # noqa: F401 (they enter data sets)
from ferplus_keras.data.labels import LabelRule
from ferplus_keras.data.registry import DATASETS, FileRows, LabelSet
from ferplus_keras.data.tables import at_line, read_table
from ferplus_keras.data.targets import ClassMap, Labels, Split, find_class_map, merge_classes
from ferplus_keras.emotions import SPLITS, VOTE_COLUMNS, check_class_names, usual_name
from ferplus_keras.errors import InputError, UsageError, unknown
from ferplus_keras.inputs import cell

DUPLICATE = "same pixels as a validation or test row"
EXCLUDED = "listed in --exclude"


class NoRows(InputError):
    """A label rule keeps no row of a split."""


def read_excluded(path: str | Path, rows: FileRows) -> tuple[np.ndarray, str]:
    """Return which rows a CSV file lists in its column `row`, (n,) bool, and its SHA-256.

    Raises InputError where `read_table` does, for what is not the number of a row, or where own
    pictures changed since: the row is another picture than the one in the column `path`.
    """
    name, excluded = f"--exclude {path}", np.zeros(len(rows.splits), bool)
    table, sha256 = read_table(Path(path), ("row",), name)
    for line, fields in table:
        field, where = fields["row"], at_line(name, line)
        if not (re.fullmatch("[0-9]{1,18}", field) and int(field) < len(excluded)):
            last = len(excluded) - 1
            raise InputError(f"{where}: expected a row from 0 to {last}, found '{field[:20]}'")
        now = cell(rows.paths[int(field)]) if rows.paths is not None else None
        if now and (then := fields.get("path", now)) != now:
            raise InputError(f"{where}: row {field} is {now} now, not {then}; run audit again")
        excluded[int(field)] = True
    if excluded.any() and not np.any(excluded & (rows.splits == "train")):
        raise InputError(f"{name}: expected rows of train, found only validation and test rows")
    return excluded, sha256


def limit_split(split: Split, limit: int | None, seed: int) -> Split:
    """Return `limit` rows of a split, drawn by the seed, in row order; all for None or too few.

    Every class (of soft targets: the largest one) keeps its share, by the largest-remainder
    method. Raises UsageError where `limit` is below 1.
    """
    rows = len(split.images)
    limit = rows if limit is None else limit
    if limit < 1:
        raise UsageError(f"expected a limit of 1 row or more, not {limit}")
    if limit >= rows:
        return split
    classes = split.labels()
    exact = np.bincount(classes, minlength=len(split.class_names)) * limit
    quotas = exact // rows
    by_remainder = np.argsort(-(exact % rows), kind="stable")
    quotas[by_remainder[: limit - quotas.sum()]] += 1
    choice = np.random.default_rng(seed).choice
    of_class = (np.flatnonzero(classes == index) for index in range(len(quotas)))
    drawn = [choice(rows, n, replace=False) for rows, n in zip(of_class, quotas, strict=True)]
    return split.take(np.sort(np.concatenate(drawn)))


def duplicate_groups(rows: np.ndarray) -> np.ndarray:
    """Return for each row (n, ...), a face or a digest, the first that is the same, (n,) int64."""
    first: dict[bytes, int] = {}
    found = (first.setdefault(row.tobytes(), index) for index, row in enumerate(rows))
    return np.fromiter(found, np.int64, len(rows))


@dataclass(frozen=True, eq=False)
class Source:
    """The files of a data set, read once, before any label rule."""

    label_set: LabelSet
    rows: FileRows
    class_map: ClassMap

    @property
    def class_names(self) -> tuple[str, ...]:
        """The C classes, in the order of the targets."""
        return tuple(self.class_map)

    @cached_property
    def groups(self) -> np.ndarray:
        """For each row the first row with the same pixels, or picture, (n,) int64."""
        known = self.rows.images if self.rows.digests is None else self.rows.digests
        return duplicate_groups(known)

    @cached_property
    def leaked(self) -> np.ndarray:
        """Which rows have a duplicate across the border of training, (n,) bool."""
        groups, in_train = self.groups, self.rows.splits == "train"
        return np.isin(groups, groups[in_train]) & np.isin(groups, groups[~in_train])

    def label(self, rule: LabelRule) -> Labels:
        """Return the labels of all rows under a rule, classes merged."""
        labels = rule.apply(self.rows.opinions)
        return merge_classes(labels, self.rows.class_names, self.class_map, rule.kind)

    def split(self, name: str, rule: str | LabelRule, labels: Labels | None = None) -> Split:
        """Return one split, labelled by exactly `rule`, whatever split it is.

        Args:
            name: "train", "validation" or "test".
            rule: row of `labels.LABEL_RULES`, or its name; a data set with one rule keeps it.
            labels: the rule's labels of all rows, where some were dropped since.

        Raises:
            UsageError: an unknown rule.
            NoRows: the rule keeps no row of it.
        """
        rule = self.label_set.rule(rule) if isinstance(rule, str) else rule
        labels = self.label(rule) if labels is None else labels
        in_split = self.rows.splits == name
        row_ids = np.flatnonzero(in_split & labels.keep)
        if not row_ids.size:
            advice = f"the data files are {', '.join(self.rows.hashes)}"
            if self.label_set.own_pictures:
                advice = "add pictures, or give the splits yourself (docs/own_data.md)"
            raise NoRows(
                f"expected rows for the {name} split of {self.label_set.name}, but of its "
                f"{np.count_nonzero(in_split)} rows none is kept; {advice}"
            )
        every_row = Split(
            images=self.rows.images,
            targets=labels.targets,
            row_ids=np.arange(len(in_split)),
            class_names=self.class_names,
            leaked=self.leaked,
            paths=self.rows.paths,
            digests=self.rows.digests,
            kind=rule.kind,
        )
        return every_row.take(row_ids)

    def votes(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray | None:
        """Return the votes for each class on rows (n,) int, (n, C) int; None without votes."""
        if not self.label_set.uses_votes:
            return None
        votes = self.rows.opinions[rows]
        columns = [[VOTE_COLUMNS.index(name) for name in old] for old in self.class_map.values()]
        return np.stack([votes[:, chosen].sum(axis=1) for chosen in columns], axis=1)

    def counts(self, rule: LabelRule, evaluation: LabelRule, labels: Labels) -> dict:
        """Return what the labels of all rows keep and drop, as `counts.label_counts` does."""

        def count(rows: np.ndarray) -> dict:
            reasons = Counter(labels.reasons[rows & ~labels.keep].tolist())
            sums = labels.targets[rows].sum(axis=0, dtype=np.float64).tolist()
            sums = [int(n) if n.is_integer() else round(n, 3) for n in sums]
            return {
                "rows": int(rows.sum()),
                "kept": int(labels.keep[rows].sum()),
                "dropped": reasons.total(),
                "reasons": dict(reasons.most_common()),
                "per_class": dict(zip(self.class_names, sums, strict=True)),
            }

        return {
            "dataset_name": self.label_set.name,
            "label_rule": rule.name,
            "evaluation_rule": evaluation.name,
            "classes": list(self.class_names),
            "splits": {name: count(self.rows.splits == name) for name in SPLITS},
            "total": count(np.ones(len(labels.keep), bool)),
        } | ({"skipped": self.rows.skipped} if self.rows.skipped else {})


@dataclass(frozen=True)
class Dataset:
    """All splits, ready for training."""

    source: Source
    rule: LabelRule  # that labels the training rows
    evaluation_rule: LabelRule  # that labels the validation and test rows
    splits: dict[str, Split]  # "train", "validation" and, where it has rows, "test"
    counts: dict  # as `counts.label_counts` gives them
    hashes: dict[str, str]  # as `FileRows.hashes`, and of the file of excluded rows


def open_source(
    data_dir: str | Path,
    dataset_name: str = "FERPlus",
    cache_dir: str | Path | None = None,
    *,
    class_map: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    **reading: Any,
) -> Source:
    """Read the files of a data set, once, for any number of label rules and splits.

    Args:
        data_dir: folder of fer2013.csv (and fer2013new.csv for FERPlus), or of own pictures.
        dataset_name: row of `DATASETS`.
        cache_dir: where parsed pixels are kept; None for the usual place.
        class_map: as `find_class_map` takes it.
        class_names: columns that the targets are to have, such as the classes of a checkpoint;
            the data may lack some of them. None for the classes of the data.
        reading: of own pictures, as `folder.read_folder` takes it. Other data sets have the
            `face_size` and `colour` that they have.

    Raises:
        UsageError: an unknown data set, class or argument, faces that are not of that size and
            colour, or other `reading` for other data than own pictures.
        InputError: a file is missing or damaged, the two files do not belong together, or the data
            have a class that is not in `class_names`.
    """
    label_set = DATASETS[dataset_name]
    find_class_map(class_map if label_set.class_names else None, label_set.class_names)
    own = reading if label_set.own_pictures else {}
    arguments = [*folder.read_folder.__kwdefaults__, "label_rule", "class_map", "cache_dir"]
    for name, value in reading.items():
        if name not in arguments:
            raise unknown("argument", name, arguments)
        if value and not own and name not in ("face_size", "colour", "largest"):
            raise UsageError(f"--{name} is for your own pictures (--dataset_name Folder)")
    rows = label_set.read(data_dir, cache_dir, **own)  # a wrong class map is refused before
    size, *channels = rows.images.shape[2:]
    for name, has in (("face_size", size), ("colour", bool(channels))):
        if reading.get(name) not in (None, has):
            raise UsageError(
                f"--{name} {reading[name]}: the faces of {dataset_name} are {size}x{size} "
                f"{'colour' if channels else 'grey'}; only your own pictures (--dataset_name "
                "Folder) have the size and colour that is asked for"
            )
    known = label_set.class_names or rows.class_names
    if class_names is not None and class_map:
        named = {name for members in find_class_map(class_map, None).values() for name in members}
        if {*known} <= named:  # the others are classes that these data lack, not misspelled ones
            known = tuple(named)
        elif {*known} <= {*class_names}:  # the pictures have the new classes already
            class_map = None
    classes = find_class_map(class_map, known)
    if class_names is not None:
        classes = respelled(classes, class_names)
        if extra := [name for name in classes if name not in class_names]:
            raise InputError(
                f"the data has the class '{extra[0]}', expected only {', '.join(class_names)}; "
                "rename it, or use --class_map NEW=OLD …"
            )
        classes = {name: classes.get(name, ()) for name in class_names}
    check_class_names(classes, f"{data_dir}")
    spelt = {usual_name(name): name for name in classes}
    for name in classes if class_names is None else ():  # a model may tell them apart
        if (other := spelt[usual_name(name)]) != name:
            raise InputError(
                f"{data_dir}: '{name}' and '{other}' are spellings of one class; rename one, or "
                f"merge them: --class_map {usual_name(name)}={name}+{other} …"
            )
    return Source(label_set, rows, classes)


def respelled(classes: ClassMap, class_names: Sequence[str]) -> ClassMap:
    """Return a class map whose new classes are called as in `class_names`: "anger" for "Angry"."""
    found, other = defaultdict(tuple), []
    usual = [*map(usual_name, class_names)]
    spelt = {of: name for of, name in zip(usual, class_names, strict=True) if usual.count(of) == 1}
    for name, members in classes.items():
        known = name if name in class_names else spelt.get(usual_name(name), name)
        found[known] += members
        other += [f"{name} as {known}"] * (known != name)
    if other:
        print(f"note: the model's names of classes are used: {', '.join(other)}", file=sys.stderr)
    return dict(found)


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
    **reading: Any,
) -> Dataset:
    """Return all splits as training uses them; the test split is left out where it has no rows.

    Args:
        data_dir, dataset_name, cache_dir, class_map, reading: as for `open_source`.
        label_rule: row of `labels.LABEL_RULES`, for the training rows; a data set with one rule
            keeps it.
        evaluation_rule: likewise, for the others; None for the one its authors evaluate with.
        drop_leaks: leave out the training rows with the pixels of a validation or test row.
        exclude: CSV file whose column `row` lists rows (`Split.row_ids`) to leave out of training.

    Raises:
        UsageError: an unknown data set, label rule or class.
        InputError: as `open_source`, or the train or validation split has no rows.
    """
    label_set = DATASETS[dataset_name]
    rule = label_set.rule(label_rule)
    evaluation = label_set.rule(evaluation_rule or rule.evaluate_with)
    source = open_source(data_dir, dataset_name, cache_dir, class_map=class_map, **reading)
    hashes = dict(source.rows.hashes)
    train = source.label(rule)
    if exclude:
        excluded, hashes[Path(exclude).name] = read_excluded(exclude, source.rows)
        train = train.without(excluded, EXCLUDED)
    if drop_leaks:
        train = train.without(source.leaked, DUPLICATE)
    labels = source.label(evaluation).replaced(source.rows.splits == "train", train)
    rules = dict.fromkeys(SPLITS, evaluation) | {"train": rule}
    if not np.any(labels.keep & (source.rows.splits == "test")):
        del rules["test"]
    return Dataset(
        source=source,
        rule=rule,
        evaluation_rule=evaluation,
        splits={name: source.split(name, rules[name], labels) for name in rules},
        counts=source.counts(rule, evaluation, labels),
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
    **reading: Any,
) -> Split:
    """Return the rows of one split that a label rule keeps.

    Args:
        data_dir, dataset_name, cache_dir, class_map, class_names, reading: as for `open_source`.
        split: "train", "validation" or "test".
        label_rule: as for train.py, but it labels this split, whichever it is; so soft targets for
            "test", too, where train.py evaluates by one class.

    Raises:
        UsageError, InputError: as `open_source` and `Source.split` do.

    Example:
        >>> load_split("data", "test").images.shape  # doctest: +SKIP
        (3275, 48, 48)
        >>> load_split("mine", "test", "Folder", face_size=112, colour=True)  # doctest: +SKIP
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    rule = DATASETS[dataset_name].rule(label_rule)
    names = {"class_map": class_map, "class_names": class_names}
    return open_source(data_dir, dataset_name, cache_dir, **names, **reading).split(split, rule)
