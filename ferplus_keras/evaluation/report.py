"""What an evaluation hands over: report.json, predictions.csv, pictures and a printed table."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.data.dataset import Split
from ferplus_keras.files import replacing


def write_report(report: dict[str, Any], path: Path) -> None:
    """Write report.json whole."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def write_predictions(splits: dict[str, Split], found: dict[str, np.ndarray], path: Path) -> None:
    """Write one line a face: split, row of fer2013.csv from 0, label, prediction, probabilities.

    Args:
        splits: evaluated splits by name.
        found: (n, C) probabilities by split name.
        path: CSV file, replaced whole.
    """
    names = next(iter(splits.values())).class_names
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "row", "label", "predicted", *names])
        for split_name, split in splits.items():
            labels = split.targets.argmax(axis=1)
            for row, label, scores in zip(split.row_ids, labels, found[split_name], strict=True):
                shown = [f"{score:.6f}" for score in scores]
                writer.writerow([split_name, row, names[label], names[scores.argmax()], *shown])


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
    """Return the scores as two tables: splits, then F1 and support of each class."""
    names = list(report["splits"])
    scores = ("accuracy", "loss", "macro_f1", "balanced_accuracy")
    lines = [
        f"{report['model']} on {report['dataset_name']}, label rule {report['label_rule']}",
        f"{'split':<12}{'n':>7}" + "".join(f"{name:>19}" for name in scores),
    ]
    for name in names:
        split = report["splits"][name]
        lines.append(f"{name:<12}{split['n']:>7}" + "".join(f"{split[s]:>19.4f}" for s in scores))
    lines += ["", f"{'F1 (faces)':<12}" + "".join(f"{name:>18}" for name in names)]
    for class_name in report["class_names"]:
        cells = []
        for name in names:
            of_class = report["splits"][name]["per_class"][class_name]
            f1 = "not defined" if of_class["f1"] is None else f"{of_class['f1']:.4f}"
            cells.append(f"{f1} ({of_class['support']})")
        lines.append(f"{class_name:<12}" + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines)
