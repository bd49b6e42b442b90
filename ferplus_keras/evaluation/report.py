"""What an evaluation hands over: report.json, predictions.csv, pictures and a printed table."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ferplus_keras.files import replacing

if TYPE_CHECKING:
    from ferplus_keras.evaluation.evaluate import Judged


def write_report(report: dict[str, Any], path: Path) -> None:
    """Write report.json whole."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def write_predictions(judged: dict[str, Judged], path: Path) -> None:
    """Write one line a face: split, row, label, prediction, probabilities, own picture's path.

    The row is that of fer2013.csv, from 0; `Split.row_ids` tells more.

    Args:
        judged: evaluated splits by name.
        path: CSV file, replaced whole.
    """
    names = next(iter(judged.values())).rows.split.class_names
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        paths = ["path"] if next(iter(judged.values())).rows.split.paths is not None else []
        writer.writerow(["split", "row", "label", "predicted", *names, *paths])
        for split_name, (rows, probabilities, *_) in judged.items():
            split = rows.split
            labels = split.targets.argmax(axis=1)
            for index, scores in enumerate(probabilities):
                said = [names[labels[index]], names[scores.argmax()]]
                shown = [f"{score:.6f}" for score in scores]
                path = [split.paths[index]] if paths else []
                writer.writerow([split_name, split.row_ids[index], *said, *shown, *path])


def draw_confusion(report: dict[str, Any], path: Path) -> None:
    """Draw one confusion matrix a split: shares of the true class, counts in small print."""
    from matplotlib.figure import Figure

    splits = report["splits"]
    names = report["class_names"]
    figure = Figure(figsize=(6.2 * len(splits), 5.8), layout="constrained")
    for axes, (split_name, scores) in zip(
        figure.subplots(1, len(splits), squeeze=False)[0], splits.items(), strict=True
    ):
        counts = np.array(scores["confusion_matrix"])
        totals = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(counts.shape):
            if counts[row, column]:
                axes.text(
                    column,
                    row,
                    f"{shares[row, column]:.0%}\n{counts[row, column]}",
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color="white" if shares[row, column] > 0.5 else "black",
                )
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_title(
            f"{split_name}: accuracy {scores['accuracy']:.4f}, n = {scores['n']}", fontsize=11
        )
    figure.suptitle(
        f"{report['model']} on {report['dataset_name']}, {report['label_rule']}", fontsize=12
    )
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def format_report(report: dict[str, Any]) -> str:
    """Return the scores as tables: splits, label rules and members, then each class."""
    splits = report["splits"]
    lines = [
        f"{report['model']} on {report['dataset_name']}, label rule {report['label_rule']}"
        + (f", test-time augmentation {report['tta']}" if report["tta"] != "none" else ""),
        f"{'split':<26}{'n':>7}{'accuracy (95 % interval)':>27}"
        + "".join(f"{name:>19}" for name in _SHOWN),
    ]
    for name, split in splits.items():
        cells = "".join(f"{_number(split[score]):>19}" for score in _SHOWN)
        lines.append(f"{name:<26}{split['n']:>7}{_with_interval(split):>27}{cells}")
        lines.append(_indented("without leaks", split["leak_free"]))
        lines += [_indented(rule, found) for rule, found in split["label_rules"].items()]
        for member in report.get("members", ()):
            lines.append(_indented(Path(member["checkpoint"]).parent.name, member["splits"][name]))
        if split.get("annotators"):
            lines.append(
                "  against the other annotators: model {model_accuracy:.4f}, held-out annotator "
                "{annotator_accuracy:.4f}".format(**split["annotators"])
            )
    lines += ["", f"{'F1 (faces)':<12}" + "".join(f"{name:>18}" for name in splits)]
    for class_name in report["class_names"]:
        cells = []
        for split in splits.values():
            of_class = split["per_class"][class_name]
            cells.append(f"{_number(of_class['f1'])} ({of_class['support']})")
        lines.append(f"{class_name:<12}" + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines)


_SHOWN = ("loss", "macro_f1", "balanced_accuracy", "calibration_error")
"""Scores of the printed table, beside the accuracy."""


def _indented(name: str, found: dict[str, Any]) -> str:
    return f"  {name:<24}{found['n']:>7}{_with_interval(found):>27}"


def _with_interval(found: dict[str, Any]) -> str:
    if found["accuracy"] is None:
        return "not defined"
    return "{:.4f} ({:.4f}-{:.4f})".format(found["accuracy"], *found["accuracy_interval"])


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"
