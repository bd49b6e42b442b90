"""The output of an evaluation: report.json, predictions.csv and a printed table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.evaluation.scores import Evaluation
from ferplus_keras.files import replacing
from ferplus_keras.inputs import cell
from ferplus_keras.lazy import pandas
from ferplus_keras.templates import decimal, render

SHOWN = ("loss", "macro_f1", "balanced_accuracy", "calibration_error")
"""Scores beside the accuracy in tables."""


def write_predictions(evaluations: Mapping[str, Evaluation], path: Path) -> None:
    """Write one line per face: split, row, label, predicted and the probability of each class.

    `row` is that of fer2013.csv, from 0; `Split.row_ids` says more. Own pictures have two more
    columns: their path, and a hash of their pixels. Where several classes can be right, `label` is
    the one that the prediction is scored against, and `right_classes` lists them all, with |
    between them. Every score can be recomputed exactly.
    """
    tables = []
    for name, found in evaluations.items():
        split, names = found.split, np.array(found.split.class_names)
        said = {
            "split": name,
            "row": split.row_ids,
            "label": names[found.labels],
            "predicted": names[found.predicted],
        }
        more = {}
        if split.paths is not None:
            more["path"] = [cell(path) for path in split.paths]
        if split.digests is not None:
            more["pixels"] = [f"{digest:016x}" for digest in split.digests.tolist()]
        if (found.right_classes.sum(axis=1) > 1).any():
            more["right_classes"] = ["|".join(names[right]) for right in found.right_classes]
        numbers = pandas.DataFrame(found.probabilities, columns=names)
        texts = pandas.DataFrame(more, dtype=object)  # a path may be no UTF-8
        tables.append(pandas.concat((pandas.DataFrame(said), numbers, texts), axis=1))
    with replacing(path) as temporary:
        exactly = {"float_format": "%.9g"}  # enough to read back a float32
        pandas.concat(tables).to_csv(temporary, index=False, errors="surrogateescape", **exactly)


def format_report(report: dict[str, Any]) -> str:
    """Return the scores as tables: splits, label rules and members, then each class."""
    rows, f1 = [], {}
    for name, split in report["splits"].items():
        rows.append((name, split))
        if split["leak_free"]["n"] < split["n"]:
            rows.append((f"{name} without leaks", split["leak_free"]))
        rows += [(f"{name} {rule}", found) for rule, found in split["label_rules"].items()]
        for member in report.get("members", ()):
            title = "/".join(Path(member["checkpoint"]).parts[-2:])
            rows.append((f"{name} {title}", member["splits"][name]))
        f1[name] = {
            of: f"{decimal(scores['f1'], 4)} ({scores['support']})"
            for of, scores in split["per_class"].items()
        }
    titles, found = zip(*rows, strict=True)
    table = pandas.DataFrame(map(format_summary, found), titles).fillna("").to_string()
    classes = pandas.DataFrame(f1).rename_axis("F1 (faces)", axis="columns").to_string()
    return render("report.txt", table=table, classes=classes, **report)


def format_summary(scores: dict[str, Any]) -> dict[str, Any]:
    """Return the scores of one line of a table, as text."""
    accuracy = decimal(scores["accuracy"], 4)
    if scores["accuracy"] is not None:
        accuracy += " ({:.4f}-{:.4f})".format(*scores["accuracy_interval"])
    shown = {"n": scores["n"], "accuracy (95 % interval)": accuracy}
    if "loss" not in scores:  # those of another label rule, without leaks or of a member
        return shown
    return shown | {name: decimal(scores[name], 4) for name in SHOWN}


def check_report(content: dict[str, Any], scores: dict[str, Any]) -> None:
    """Raise ValueError, KeyError or TypeError if a report is not as test.py writes it."""
    names, interval = content["class_names"], scores["accuracy_interval"]
    numbers = [scores["n"], scores["accuracy"], *interval]
    optional = [scores[key] for key in SHOWN] + [scores["per_class"][name]["f1"] for name in names]
    numbers += [number for number in optional if number is not None]
    if len(interval) != 2 or not all(isinstance(number, int | float) for number in numbers):
        raise ValueError("expected numbers as scores in report.json")
    if not all(isinstance(text, str) for text in (content["model"], *names)):
        raise ValueError("expected text as model and classes in report.json")
    if not isinstance(content.get("data"), dict | None):
        raise ValueError("expected hashes as data in report.json")
