"""What test.py wrote of a run, read back for one split."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ferplus_keras.errors import InputError, UsageError

REPORT, PREDICTIONS = "report.json", "predictions.csv"
"""The files of an evaluation that are compared."""


class Run(NamedTuple):
    """One evaluation of one split.

    Attributes:
        name: shown in tables; no two runs have the same.
        folder: where its files are.
        report: all of report.json.
        scores: the split's part of it.
        rows: (n,) int64, rows of fer2013.csv, ascending.
        labels: (n,) str.
        predicted: (n,) str.
    """

    name: str
    folder: Path
    report: dict[str, Any]
    scores: dict[str, Any]
    rows: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray


def read_runs(paths: Sequence[Path], split: str) -> list[Run]:
    """Read evaluations of the same classes.

    Args:
        paths: folders, or files called report.json or predictions.csv in them; two or more.
        split: name of the split to compare.

    Raises:
        UsageError: fewer than two runs, or one is named twice.
        InputError: a file is missing, damaged or of another evaluation than the one beside it, the
            split was not evaluated, or the classes differ.
    """
    folders = [_folder(path) for path in paths]
    if len(folders) < 2:
        raise UsageError(f"expected two or more runs to compare, got {len(folders)}")
    places = [folder.resolve() for folder in folders]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise UsageError(f"expected different runs, got {folders[number]} twice")
    runs = [
        _read(folder, name, split) for folder, name in zip(folders, _names(places), strict=True)
    ]
    first = runs[0]
    for run in runs[1:]:
        classes, expected = run.report["class_names"], first.report["class_names"]
        if sorted(classes) != sorted(expected):
            raise InputError(
                f"expected runs with the same classes, but {first.name} has {', '.join(expected)} "
                f"and {run.name} has {', '.join(classes)}"
            )
    return runs


def _folder(path: Path) -> Path:
    """Return the folder of an evaluation.

    Raises:
        InputError: there is no such folder or file, or the file has another name.
    """
    if path.is_dir():
        return path
    if path.is_file() and path.name in (REPORT, PREDICTIONS):
        return path.parent
    raise InputError(f"expected a folder, {REPORT} or {PREDICTIONS} written by test.py, got {path}")


def _names(places: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that tell them apart."""
    for length in range(1, max(len(place.parts) for place in places) + 1):
        names = ["/".join(place.parts[-length:]) for place in places]
        if len(set(names)) == len(names):
            break
    return names


def _read(folder: Path, name: str, split: str) -> Run:
    for file in (REPORT, PREDICTIONS):
        if not (folder / file).is_file():
            raise InputError(f"no {file} in {folder}; run test.py on that checkpoint first")
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        splits = report["splits"]
        rows, labels, predicted = _predictions(folder / PREDICTIONS, split)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} has no evaluation that can be read: {error}") from None
    if split not in splits:
        raise InputError(
            f"{folder} has no {split} split, but {', '.join(splits)}; choose another --split, or "
            f"run test.py with --splits {split}"
        )
    scores = splits[split]
    right = int((labels == predicted).sum())
    if len(rows) != scores["n"] or abs(right - scores["accuracy"] * scores["n"]) > 0.5:
        raise InputError(
            f"{REPORT} in {folder} has {scores['n']} {split} rows and accuracy "
            f"{scores['accuracy']:.4f}, but {PREDICTIONS} has {len(rows)} rows of which {right} "
            "are right; run test.py again"
        )
    return Run(name, folder, report, scores, rows, labels, predicted)


def _predictions(path: Path, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row numbers, labels and predicted classes of a split, by row number."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if line["split"] == split]
    rows = np.array([int(line["row"]) for line in lines], np.int64)
    order = np.argsort(rows, kind="stable")
    labels, predicted = (np.array([line[key] for line in lines]) for key in ("label", "predicted"))
    return rows[order], labels[order], predicted[order]
