"""The output of an evaluation: report.json, predictions.csv and a printed table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.evaluation.scores import Evaluation
from ferplus_keras.files import replacing
from ferplus_keras.templates import render

DIGITS = "%.9g"
"""Enough to read back a float32 exactly."""

SHOWN = ("loss", "macro_f1", "balanced_accuracy", "calibration_error")
"""Scores beside the accuracy in tables."""

SEPARATOR = "|"
"""Stands between several right classes of one row."""


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write a JSON file whole."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_predictions(evaluations: Mapping[str, Evaluation], path: Path) -> None:
    """Write one line per face: split, row, label, predicted and the probability of each class.

    `row` is that of fer2013.csv, from 0; `Split.row_ids` says more. Own pictures have two more
    columns: their path, and the beginning of the SHA-256 of their pixels. Where several classes
    can be right, `label` is the one that the prediction is scored against, and `right_classes`
    lists them all. Every score can be recomputed exactly.

    Args:
        evaluations: by name of the split.
        path: CSV file, replaced whole.
    """
    import pandas

    tables = []
    for name, found in evaluations.items():
        split = found.split
        names = np.array(split.class_names)
        said = {
            "split": name,
            "row": split.row_ids,
            "label": names[found.labels],
            "predicted": names[found.predicted],
        }
        more = {}
        if split.paths is not None:
            more["path"] = split.paths
            more["pixels"] = [hashlib.sha256(image).hexdigest()[:16] for image in split.images]
        if (found.right_classes.sum(axis=1) > 1).any():
            more["right_classes"] = [SEPARATOR.join(names[right]) for right in found.right_classes]
        numbers = pandas.DataFrame(found.probabilities, columns=names)
        parts = (pandas.DataFrame(said), numbers, pandas.DataFrame(more))
        tables.append(pandas.concat(parts, axis=1))
    with replacing(path) as temporary:
        pandas.concat(tables).to_csv(temporary, index=False, float_format=DIGITS)


def format_report(report: dict[str, Any]) -> str:
    """Return the scores as tables: splits, label rules and members, then each class."""
    import pandas

    rows, f1 = [], {}
    for name, split in report["splits"].items():
        rows.append((name, split))
        if split["leak_free"]["n"] < split["n"]:
            rows.append((f"{name} without leaks", split["leak_free"]))
        rows += [(f"{name} {rule}", found) for rule, found in split["label_rules"].items()]
        for member in report.get("members", ()):
            title = Path(member["checkpoint"]).parent.name
            rows.append((f"{name} {title}", member["splits"][name]))
        f1[name] = {
            of: f"{format_number(scores['f1'])} ({scores['support']})"
            for of, scores in split["per_class"].items()
        }
    titles, found = zip(*rows, strict=True)
    table = pandas.DataFrame(map(format_summary, found), titles).fillna("").to_string()
    classes = pandas.DataFrame(f1).rename_axis("F1 (faces)", axis="columns").to_string()
    return render("report.txt", table=table, classes=classes, **report)


def format_summary(scores: dict[str, Any]) -> dict[str, Any]:
    """Return the scores of one line of a table, as text."""
    accuracy = format_number(scores["accuracy"])
    if scores["accuracy"] is not None:
        accuracy += " ({:.4f}-{:.4f})".format(*scores["accuracy_interval"])
    shown = {"n": scores["n"], "accuracy (95 % interval)": accuracy}
    if "loss" in scores:
        for name in SHOWN:
            shown[name] = format_number(scores[name])
    return shown


def format_number(value: float | None) -> str:
    """Return four decimals."""
    return "not defined" if value is None else f"{value:.4f}"
