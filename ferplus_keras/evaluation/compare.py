"""The command `compare`: reports side by side, and whether a difference could be chance."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ferplus_keras.emotions import SPLITS
from ferplus_keras.errors import InputError, UsageError, one_line
from ferplus_keras.evaluation.plots import draw_comparison
from ferplus_keras.evaluation.report import SHOWN, check_report, format_summary
from ferplus_keras.files import require_writable, sha256, write_json
from ferplus_keras.lazy import pandas, scipy
from ferplus_keras.run import PREDICTIONS, REPORT, Run
from ferplus_keras.templates import decimal, render

DESCRIPTION = """\
Compare evaluations and test whether their difference could be chance.

  python -m ferplus_keras compare checkpoints/experiment_1 checkpoints/senet50

reads report.json and predictions.csv, which test.py wrote there, compares every run with the first
on the rows that both have, prints tables and writes compare.json and compare.png."""

CHANCE = 0.05
"""Differences whose corrected p lies above this may well be chance."""

PROTOCOL = {
    "dataset_name": "data set",
    "label_rule": "label rule",
    "class_map": "class map",
    "tta": "test-time augmentation",
}
"""Key in a report -> what it is called; where runs differ here, their numbers differ in meaning."""

COLUMNS = ("split", "row", "label", "predicted", "path", "pixels", "right_classes")
"""Of predictions.csv; the last three are not in every file."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of `compare`."""
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="folder with report.json, two or more")
    add("--split", choices=SPLITS, default="test", help="split to compare [test]")
    add("--output_dir", type=Path, default="comparison", help="where files go [comparison]")


def compare(arguments: argparse.Namespace) -> None:
    """Write compare.json and compare.png, and print the tables.

    Raises UsageError and InputError, as `read_reports` and `compare_reports` do.
    """
    found = compare_reports(read_reports(arguments.runs, arguments.split), arguments.split)
    folder = arguments.output_dir
    require_writable(folder, "--output_dir")
    draw_comparison(found, folder / "compare.png")
    write_json(found, folder / "compare.json")
    print(format_comparison(found))
    print(f"\ncompare.json and compare.png are in {folder}")


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
                f"expected runs with the same classes, but {first.name} has {', '.join(ours)} and "
                f"{report.name} has {', '.join(theirs)}; evaluate the predictions.csv of both with "
                "one --dataset_name"
            )
    return reports


def common_rows(first: Report, second: Report) -> pandas.DataFrame:
    """Return the faces of both, with the other columns twice: label_1, label_2 and so on.

    Rows of fer2013.csv are matched by their number, own pictures by path and pixels. Raises
    InputError where the two were evaluated on different files.
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
            dtype={column: object for column in COLUMNS if column != "row"},
            encoding_errors="surrogateescape",  # a path may be no UTF-8
            keep_default_na=False,  # a class may be called NA
        )
        rows = rows[rows.pop("split") == split].astype({"row": "int64"})
        several = rows.get("right_classes", rows["label"])
        several = several.where(several != "", rows["label"])  # none in this split
        rows["right_classes"] = ["|".join(sorted(of.split("|"))) for of in several]
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
    scores, model = splits[split], run / Path(str(content.get("checkpoint"))).name
    written = content.get("checkpoint_sha256")
    if model.name != PREDICTIONS and model.is_file() and written not in (None, sha256(model)):
        raise InputError(f"{REPORT} in {folder} is of another {model.name}; run test.py again")
    same_number = abs(right - scores["accuracy"] * scores["n"]) <= 0.5 and len(rows) == scores["n"]
    if content.get("evaluation_id") not in (None, sha256(run / PREDICTIONS)) or not same_number:
        raise InputError(
            f"{REPORT} in {folder} has {scores['n']} {split} rows and accuracy "
            f"{scores['accuracy']:.4f}, but {PREDICTIONS} was changed or belongs to another "
            f"evaluation: {len(rows)} rows, {right} of them right; run test.py again"
        )
    return Report(name, folder, content, scores, rows)


def format_comparison(found: dict[str, Any]) -> str:
    """Return what `compare_reports` found as text."""
    names = [run["name"] for run in found["runs"]]
    scores = pandas.DataFrame(map(format_summary, found["runs"]), names)
    f1 = pandas.DataFrame([run["per_class_f1"] for run in found["runs"]], names, dtype=object).T
    f1 = f1.map(decimal, digits=4).rename_axis("F1", axis="columns")
    tables = {"scores": scores.to_string(), "f1": f1.to_string()}
    return render("compare.txt", chance=CHANCE, **tables, **found)


def compare_reports(reports: Sequence[Report], split: str) -> dict[str, Any]:
    """Compare every report, two or more of one split with the same classes, with the first.

    Returns:
        JSON-ready. Where protocols differ, `protocol_differences` has name -> a value per run. Of
        `pairs` there is one for every run but the first: all its scores are on the n rows that both
        have with the same label (those with another are `relabelled`), differences are second minus
        first, and p is that of McNemar's exact test, as it is and after Holm.

    Raises:
        InputError: two reports are of different data, or have no rows in common.
    """
    pairs = [_pair(reports[0], report) for report in reports[1:]]
    for pair, corrected in zip(pairs, holm([pair["p"] for pair in pairs]), strict=True):
        pair["p_holm"] = corrected
    class_names = reports[0].content["class_names"]
    runs = [
        {
            "name": report.name,
            "folder": str(report.folder),
            "model": report.content["model"],
            "n": report.scores["n"],
            **{key: report.content.get(key) for key in PROTOCOL},
            **{key: report.scores[key] for key in ("accuracy", "accuracy_interval", *SHOWN)},
            "per_class_f1": {name: report.scores["per_class"][name]["f1"] for name in class_names},
        }
        for report in reports
    ]
    return {
        "split": split,
        "class_names": class_names,
        "runs": runs,
        "protocol_differences": {
            name: [run[key] for run in runs]
            for key, name in {"n": "rows", **PROTOCOL}.items()
            if any(run[key] != runs[0][key] for run in runs)
        },
        "pairs": pairs,
    }


def _pair(first: Report, second: Report) -> dict[str, Any]:
    """Compare two reports on the rows that both have with the same label."""
    common = common_rows(first, second)
    same = common["right_classes_1"] == common["right_classes_2"]
    if not same.any():
        raise InputError(
            f"{first.name} and {second.name} have no rows in common with the same label "
            f"({len(common)} with another); compare runs on the same data"
        )
    rows = common[same]
    first_right = rows["label_1"] == rows["predicted_1"]
    second_right = rows["label_2"] == rows["predicted_2"]
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    return {
        "first": first.name,
        "second": second.name,
        "n": len(rows),
        "relabelled": int((~same).sum()),
        "rows_of_first_alone": len(first.rows) - len(common),
        "rows_of_second_alone": len(second.rows) - len(common),
        "first_accuracy": float(first_right.mean()),
        "second_accuracy": float(second_right.mean()),
        "difference": (only_second - only_first) / len(rows),
        "difference_interval": difference_interval(only_first, only_second, len(rows)),
        "only_first_right": only_first,
        "only_second_right": only_second,
        "p": mcnemar(only_first, only_second),
    }


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p of McNemar's exact test (McNemar 1947; Dietterich 1998).

    Were both equally good, the faces that only one of them gets right (`only_first` and
    `only_second`) would fall to either side like a fair coin.
    """
    tosses = only_first + only_second
    return float(scipy.stats.binomtest(only_first, tosses).pvalue) if tosses else 1.0


def difference_interval(only_first: int, only_second: int, rows: int) -> list[float]:
    """Return the 95 % interval of the second's accuracy minus the first's, on `rows` faces.

    A paired bootstrap over the faces: a resampled face brings both answers along. Only how many
    faces one alone gets right counts, and these counts are multinomial.
    """
    shares = np.array([only_first, only_second, rows - only_first - only_second]) / rows
    drawn = np.random.default_rng(0).multinomial(rows, shares, 100_000)
    return np.percentile((drawn[:, 1] - drawn[:, 0]) / rows, [2.5, 97.5]).tolist()


def holm(values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number (Holm 1979), in the same order."""
    order = np.argsort(values, kind="stable")
    left = len(values) - np.arange(len(values))
    found = np.empty(len(values))
    found[order] = np.minimum(1, np.maximum.accumulate(np.take(values, order) * left))
    return found.tolist()
