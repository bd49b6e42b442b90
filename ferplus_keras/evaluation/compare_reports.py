"""What test.py wrote, read back for one split, and the faces that two reports have in common."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ferplus_keras.errors import InputError, UsageError, one_line
from ferplus_keras.evaluation.report import check_report
from ferplus_keras.files import sha256
from ferplus_keras.run import PREDICTIONS, REPORT, Run

if TYPE_CHECKING:
    import pandas

COLUMNS = ("split", "row", "label", "predicted", "path", "pixels", "right_classes")
"""Of predictions.csv; the last three are not in every file."""


class Report(NamedTuple):
    """One evaluation of one split."""

    name: str  # shown in tables; no two reports have the same
    folder: Path
    content: dict[str, Any]  # all of report.json
    scores: dict[str, Any]  # the split's part of it
    rows: pandas.DataFrame  # a line per face: those of `COLUMNS` that the file has, right_classes


def read_reports(paths: Sequence[Path], split: str) -> list[Report]:
    """Read what two or more folders, or their report.json or predictions.csv, hold of a split.

    Raises:
        UsageError: fewer than two runs, or the same one twice.
        InputError: a file cannot be used, the split was not evaluated, or the classes differ.
    """
    for path in paths:
        if not path.is_dir() and not (path.is_file() and path.name in (REPORT, PREDICTIONS)):
            raise InputError(
                f"expected a folder, {REPORT} or {PREDICTIONS} written by test.py, got {path}"
            )
    folders = [path if path.is_dir() else path.parent for path in paths]
    if len(folders) < 2:
        raise UsageError(f"expected two or more runs to compare, got {len(folders)}")
    places = [folder.resolve() for folder in folders]
    for at, place in enumerate(places):
        if place in places[:at]:
            raise UsageError(f"expected different runs, got {folders[at]} twice")
    ends = (["/".join(place.parts[-n:]) for place in places] for n in itertools.count(1))
    names = next(names for names in ends if len(set(names)) == len(names))
    reports = [_read(*found, split) for found in zip(folders, names, strict=True)]
    first = reports[0]
    for report in reports:
        ours, theirs = first.content["class_names"], report.content["class_names"]
        if sorted(ours) != sorted(theirs):
            raise InputError(
                f"expected runs with the same classes, but {first.name} has {', '.join(ours)} "
                f"and {report.name} has {', '.join(theirs)}"
            )
    return reports


def common_rows(first: Report, second: Report) -> pandas.DataFrame:
    """Return the faces of both, with the other columns twice: label_1, label_2 and so on.

    Rows of fer2013.csv are the same where their number is, own pictures where path and pixels are.

    Raises:
        InputError: the two were evaluated on different files.
    """
    both = first.rows.columns.intersection(second.rows.columns)
    keys = [name for name in ("path", "pixels") if name in both] or ["row"]
    if keys == ["row"]:
        ours, theirs = (report.content.get("data") or {} for report in (first, second))
        changed = [name for name in ours if theirs.get(name, ours[name]) != ours[name]]
        if ours and theirs and (changed or not ours.keys() & theirs.keys()):
            raise InputError(
                f"{first.name} and {second.name} were evaluated on different data "
                f"({', '.join(changed or [*ours, *theirs])}); run test.py on the same files"
            )
    return first.rows.merge(second.rows, on=keys, suffixes=("_1", "_2"))


def _read(folder: Path, name: str, split: str) -> Report:
    import pandas

    run = Run(folder)
    for file in (REPORT, PREDICTIONS):
        if not (run / file).is_file():
            raise InputError(f"no {file} in {folder}; run test.py on that checkpoint first")
    try:
        content = run.report()
        splits = content["splits"]
        rows = pandas.read_csv(
            run / PREDICTIONS,
            usecols=lambda column: column in COLUMNS,
            dtype={column: str for column in COLUMNS if column != "row"},
            keep_default_na=False,  # a class may be called NA
        )
        rows = rows[rows.pop("split") == split].astype({"row": "int64"})
        if "right_classes" not in rows:
            rows["right_classes"] = rows["label"]
        right = int((rows["label"] == rows["predicted"]).sum())
        if split in splits:
            check_report(content, splits[split])
    except (InputError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder} has no evaluation that can be read: {one_line(error)}"
        ) from None
    if split not in splits:
        raise InputError(
            f"{folder} has no {split} split, only {', '.join(map(str, splits))}; choose another "
            f"--split, or run test.py with --splits {split}"
        )
    scores = splits[split]
    same_number = abs(right - scores["accuracy"] * scores["n"]) <= 0.5 and len(rows) == scores["n"]
    if content.get("evaluation_id") not in (None, sha256(run / PREDICTIONS)) or not same_number:
        raise InputError(
            f"{REPORT} in {folder} has {scores['n']} {split} rows and accuracy "
            f"{scores['accuracy']:.4f}, but {PREDICTIONS} belongs to another evaluation: "
            f"{len(rows)} rows, {right} of them right; run test.py again"
        )
    return Report(name, folder, content, scores, rows)
