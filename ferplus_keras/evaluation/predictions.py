"""The command `evaluate`: the predictions of any framework's model, scored by one protocol."""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from ferplus_keras.arguments import add_settings
from ferplus_keras.config import TrainConfig
from ferplus_keras.data.dataset import DATASETS, Source, open_source, respelled
from ferplus_keras.data.tables import read_table
from ferplus_keras.emotions import FER2013_CLASSES, FERPLUS_CLASSES, SPLITS, usual_name
from ferplus_keras.errors import InputError, UsageError, as_input_error
from ferplus_keras.evaluation import evaluate as evaluation
from ferplus_keras.evaluation.compare import COLUMNS
from ferplus_keras.evaluation.probabilities import as_probabilities, named_columns, other_classes
from ferplus_keras.extras import EVALUATION, require
from ferplus_keras.files import require_writable, sha256
from ferplus_keras.inputs import DAMAGED_ARRAY, plain
from ferplus_keras.lazy import pandas
from ferplus_keras.run import PREDICTIONS, READING

DESCRIPTION = """\
Score the predictions of any model, whatever made them, as test.py scores its own.

  python -m ferplus_keras evaluate predictions.csv

takes a CSV file, a Parquet file or a NumPy array: the row of fer2013.csv (column `row`, counted
from 0) or the image's name, and the probability of each class, in any order (docs/benchmark.md)."""

_READING = (*READING, "class_map")
ORDERS = {
    "ferplus": FERPLUS_CLASSES,
    "fer2013": FER2013_CLASSES,
    "alphabetical": tuple(sorted(FERPLUS_CLASSES)),
}
"""Orders of classes that `--classes` knows; of seven, without contempt. PyTorch's ImageFolder has
the alphabetical one, which is the same under FER2013's names."""

NOT_KNOWN = (
    "what the model was trained on, and on which rows it was selected: selected on the test split, "
    "it scores too high there",
    "how faces were prepared, and whether views or models were averaged",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of `evaluate`."""
    add = parser.add_argument
    add("predictions", type=Path, help=".csv, .parquet or .npy file")
    add_settings(parser, TrainConfig, ("data_dir", "label_rule", "cache_dir", *_READING))
    add("--dataset_name", choices=list(DATASETS), help="[FERPlus; without contempt FERPlus7]")
    add("--splits", nargs="+", choices=list(SPLITS), help="[what the file has, but for train]")
    add("--classes", choices=ORDERS, help="order of columns without names")
    add("--output_dir", type=Path, help="where files go [FILE_report beside FILE]")


def evaluate_predictions(arguments: argparse.Namespace) -> None:
    """Score a file of predictions, write what test.py writes, and say what cannot be known.

    Raises:
        UsageError: the order of the classes or the split must be given.
        InputError: the file cannot be used, or lacks, repeats or invents rows; they are named.
    """
    started = time.perf_counter()
    require(EVALUATION, "evaluation")
    path = arguments.predictions
    folder = arguments.output_dir or path.with_name(f"{path.stem}_report")
    if os.path.realpath(folder / PREDICTIONS) == os.path.realpath(path):
        raise UsageError(f"{path} would be replaced: choose another --output_dir")
    if (table := _read(path)).empty:
        raise InputError(f"{path}: expected one line per face, found none")
    not_known = list(NOT_KNOWN)
    columns = _class_columns(table, arguments.classes, path, not_known)
    eight = "contempt" in columns or arguments.class_map
    dataset_name = arguments.dataset_name or ("FERPlus" if eight else "FERPlus7")
    rule = DATASETS[dataset_name].rule(arguments.label_rule).name
    reading = {name: getattr(arguments, name) for name in _READING}
    source = open_source(arguments.data_dir, dataset_name, arguments.cache_dir, **reading)
    if source.label_set.own_pictures:
        classes = respelled(source.class_map, [*table])
        if {*classes, *COLUMNS[:5]} <= {*table}:  # they may lack classes that test.py's file has
            names = [*table][table.columns.get_loc("predicted") + 1 : table.columns.get_loc("path")]
            names = names or [name for name in table if name not in COLUMNS]
            classes = {name: classes.get(name, ()) for name in names}
        source = replace(source, class_map=classes)
    values = _values(table, columns, source, path, not_known)
    lines = _lines(table, source, rule, arguments.splits, path, not_known)
    there = [name for name in SPLITS if (source.rows.splits[lines >= 0] == name).any()]
    splits = arguments.splits or [name for name in there if name != "train"] or there
    by_split = {name: evaluation.split_by_rule(source, name, rule) for name in splits}
    for name, by_rule in by_split.items():
        lacking = {of: s.row_ids[lines[s.row_ids] < 0] for of, s in by_rule.items()}
        _refuse(path, f"lacks rows that {rule} keeps of {name}:", lacking.pop(rule))
        if unscored := {of: len(by_rule.pop(of)[0]) for of, lost in lacking.items() if len(lost)}:
            counts = (f"{of} {len(lacking[of]):,} of {kept:,}" for of, kept in unscored.items())
            not_known.append(f"{name} under rules that need further rows: {', '.join(counts)}")
    require_writable(folder, "--output_dir")

    def ask(some: np.ndarray, name: str) -> list[np.ndarray]:
        return [values[lines[some]]]

    evaluations = {
        name: evaluation.evaluate_split(source, name, by_rule, ask)
        for name, by_rule in by_split.items()
    }
    protocol = evaluation.protocol_of(source, rule, arguments.class_map)
    model = dict.fromkeys(("image_size", "epoch", "trained_with"))  # they are not known
    model |= {"checkpoint": str(path), "checkpoint_sha256": sha256(path), "model": path.stem}
    backend = path.suffix.removeprefix(".")
    report = evaluation.make_report(protocol, [model], evaluations, backend)
    report["not_known"] = not_known
    evaluation.write_evaluation(report, evaluations, folder, started)


def _read(path: Path) -> pandas.DataFrame:
    """Return a file as a table; an array's columns are 0, 1 and so on, a nameless index is ""."""
    with as_input_error(f"cannot read {path}", *DAMAGED_ARRAY):
        if path.suffix == ".csv":
            lines = [line for _, line in read_table(path, ())[0]]  # a name may be no UTF-8
            return pandas.DataFrame(lines, dtype=object)
        if path.suffix == ".npy":
            return pandas.DataFrame(np.load(plain(path)))
        if path.suffix == ".parquet":
            require(("pyarrow",), "reading Parquet")
            table = pandas.read_parquet(path)
            bare = table.index.names == [None]
            return table.reset_index(drop=bare and "" in table, names=[""] if bare else None)
    raise InputError(f"{path}: expected .csv, .npy or .parquet; test.py evaluates models")


def _class_columns(
    table: pandas.DataFrame, order: str | None, path: Path, notes: list[str]
) -> dict[str, Any]:
    """Return class -> column by name, of other columns too; where none has a name, in order."""
    numbered = table.columns.drop("", errors="ignore")
    if columns := named_columns(numbered):
        return columns
    count = len(numbered)
    names = [name for name in ORDERS[order or "ferplus"] if count == 8 or name != "contempt"]
    if len(names) != count or not (order or count == 8):
        raise UsageError(
            f"{path} has {count} columns without names: expected eight in FER+'s order, or seven "
            f"and --classes {' or '.join(ORDERS)}; or a table with names"
        )
    notes.append(f"whether the columns, which have no names, are in this order: {', '.join(names)}")
    return dict(zip(names, numbered, strict=True))


def _values(
    table: pandas.DataFrame, columns: dict[str, Any], source: Source, path: Path, notes: list[str]
) -> np.ndarray:
    """Return the probabilities (n, C) float32 of the source's classes; contempt may be lacking."""
    names = source.class_names
    lacking = [name for name in names if usual_name(name) not in columns]
    if lacking not in ([], ["contempt"]):
        raise InputError(
            f"{path}: expected a header that names each of {', '.join(names)}; found "
            f"{', '.join(filter(None, map(str, table)))}"
        )
    others = other_classes(columns, names)
    values = np.zeros((len(table), len(names) + len(others)))
    for index, name in enumerate((*names, *others)):
        if name not in lacking:
            column = table[columns[usual_name(name)]]
            values[:, index] = pandas.to_numeric(column, errors="coerce")
            if (bad := np.isnan(values[:, index])).any():
                found = f"found '{column[bad].iloc[0]}'"
                raise InputError(f"{path}: expected numbers in column {name}, {found}")
    if lacking:
        notes.append("contempt: the model has no such class, so it counts as never predicted")
    elif source.label_set.name == "FERPlus7":
        notes.append("contempt: its faces are left out (they count with --dataset_name FERPlus)")
    if others:
        notes.append(f"{', '.join(others)}: left out of the model's answers, the rest adds up to 1")
    return as_probabilities(values, (len(table), len(names)), len(others))


def _lines(
    table: pandas.DataFrame,
    source: Source,
    rule: str,
    splits: list[str] | None,
    path: Path,
    notes: list[str],
) -> np.ndarray:
    """Return which line is about each row of the data set, (n,) int64; -1 where none is.

    A line says so by the row's number or the image; else the lines are in the order of the rows.
    FER+ has image names that two rows with the same pixels share: one line is about both.
    """
    spelt = {str(name).casefold().replace("_", "").replace(" ", ""): name for name in table}
    known, splits_of = source.rows.paths, source.rows.splits
    found = np.full(len(splits_of), -1)
    names = ("imagename", "image", "path", *(() if "row" in spelt else ("filename", "file")))
    named = [spelt[name] for name in names if name in spelt]
    # A row of own pictures is a place in a list that changes with them.
    if "row" in spelt and not (named and known is not None):
        known, column = np.arange(len(splits_of)), spelt["row"]
    else:
        known = source.rows.names if known is None else known
        if named and known is None:
            raise UsageError(
                f"{path}: {source.label_set.name} does not know pictures by the names in column "
                f"{named[0]}: add a column `row`, or drop this one if the lines are in order"
            )
        column = named[0] if named else None
    if column is None:
        if not splits:
            raise UsageError(
                f"{path} has no column `row` or `image`: rename the one that names pictures, "
                "or give --splits, such as test, if the lines are in the order of the rows"
            )
        order = pandas.to_numeric(table.get("", table.index), errors="coerce").dropna()
        # Of batches that were put together, each begins anew at 0.
        if order.is_unique and not order.is_monotonic_increasing:
            raise InputError(
                f"{path}: the lines are not in the order of their nameless column: sort them, or "
                "name the column `row` if it holds the rows of fer2013.csv"
            )
        notes.append("whether the lines are in the order of the rows, as they name none")
        kept = np.concatenate([source.split(name, rule).row_ids for name in splits])
        every = np.concatenate([np.flatnonzero(splits_of == name) for name in splits])
        if len(table) not in (len(kept), len(every)):
            raise InputError(
                f"{path} has {len(table):,} lines: expected {len(kept):,}, the rows of "
                f"{' and '.join(splits)} that {rule} keeps of {source.label_set.name}, or all "
                f"{len(every):,}; or a column `row`"
            )
        found[kept if len(table) == len(kept) else every] = np.arange(len(table))
        return found
    table = table[table[column] != ""]  # FER+ has images without a name, of which no rule keeps one
    if table.empty:
        raise InputError(f"{path}: expected the name of a picture in column {column}, found none")
    lines = [str(line).strip().removesuffix(".0") for line in table[column]]
    rows_of = defaultdict(list)
    for row, name in enumerate(known.tolist()):
        if name != "":
            rows_of[str(name)].append(row)
    lines = [_known_end(line, rows_of) for line in lines]
    _refuse(path, "names what `labels --output` does not:", [n for n in lines if n not in rows_of])
    counts = Counter(lines)
    _refuse(path, "repeats", [n for n, times in counts.items() if times > len(rows_of[n])])
    for line, place in zip(lines[::-1], table.index[::-1], strict=True):  # of several, the first
        found[rows_of[line]] = place
    return found


def _known_end(name: str, known: Collection[str]) -> str:
    """Return what is known of a path: below the data's folder, or the file's name; else all."""
    parts = PureWindowsPath(name).parts  # split at / and at \
    ends = (name, *("/".join(parts[index:]) for index in range(len(parts))))
    return next((end for end in ends if end in known), name)


def _refuse(path: Path, fault: str, rows: np.ndarray | list) -> None:
    """Raise InputError that names rows, if there are any."""
    if len(rows):
        more = f" and {len(rows) - 5:,} more" if len(rows) > 5 else ""
        raise InputError(f"{path} {fault} {', '.join(map(str, rows[:5]))}{more}")
