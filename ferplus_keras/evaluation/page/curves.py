"""Plots of a page: reliability, ROC curves, and how the training went."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.evaluation.calibration import BINS, at_temperature, reliability
from ferplus_keras.page.markup import Markup, decimal, percent, tag
from ferplus_keras.page.plot import Plot, key, percent_ticks, round_numbers

POINTS = 120
"""Points of a ROC curve that are drawn."""


def reliability_plot(
    name: str,
    split: dict[str, Any],
    labels: np.ndarray,
    probabilities: np.ndarray,
    temperature: float | None,
) -> Markup:
    """Return accuracy over confidence, as it is and at the temperature, and faces by confidence."""
    ticks = percent_ticks()
    plot = Plot((0, 1), (0, 1), ("confidence", "accuracy"), ticks=(ticks, ticks))
    found = split["calibration"]["reliability"]
    most = max(found["rows"])
    for index, rows in enumerate(found["rows"]):
        sides = index / BINS, (index + 1) / BINS
        title = f"confidence {percent(sides[0], 0)} to {percent(sides[1], 0)}: {rows:,} faces"
        plot.bar(sides, (0, 0.25 * rows / most), title, "rgb(var(--heat) / .25)")
    plot.guide((0, 0), (1, 1))
    names = [f"as it is: error {percent(split['calibration_error'])}"]
    _draw_bins(plot, found, 0)
    scaled = split["calibration"].get("at_temperature")
    if scaled and temperature is not None:
        _draw_bins(plot, reliability(labels, at_temperature(probabilities, temperature)), 1)
        names.append(
            f"at temperature {decimal(temperature, 2)}: error "
            f"{percent(scaled['calibration_error'])}, loss {decimal(scaled['loss'])} instead of "
            f"{decimal(split['loss'])}"
        )
    note = (
        "On the dashed line confidence and accuracy are equal; below it the network is too sure, "
        "above it not sure enough. The bars count the faces."
    )
    if name == "validation" and scaled:
        note += " The temperature was fitted on these faces."
    description = f"Reliability diagram of {name}: {'; '.join(names)}"
    return tag(
        "figure",
        tag("h3", name),
        plot.svg(description),
        key(names, range(len(names))),
        tag("figcaption", note),
    )


def _draw_bins(plot: Plot, found: dict[str, list], colour: int) -> None:
    points = zip(found["confidence"], found["accuracy"], strict=True)
    known = [(confidence, accuracy) for confidence, accuracy in points if confidence is not None]
    plot.curve(*zip(*known, strict=True), colour=colour, dot=3.5)


def roc_plot(
    name: str, split: dict[str, Any], labels: np.ndarray, probabilities: np.ndarray
) -> Markup:
    """Return ROC curves of each class against the rest."""
    from sklearn.metrics import roc_curve

    ticks = percent_ticks()
    axes = ("others taken for the class", "faces of the class found")
    plot = Plot((0, 1), (0, 1), axes, ticks=(ticks, ticks))
    plot.guide((0, 0), (1, 1))
    names = []
    for index, (class_name, of_class) in enumerate(split["per_class"].items()):
        names.append(f"{class_name} {decimal(of_class['auroc'])}")
        if of_class["auroc"] is not None:
            wrong, right, _ = roc_curve(labels == index, probabilities[:, index])
            drawn = np.unique(np.linspace(0, len(wrong) - 1, POINTS).round().astype(int))
            plot.curve(wrong[drawn], right[drawn], index, title=names[-1])
    return tag(
        "figure",
        tag("h3", name),
        plot.svg(f"ROC curves of {name}, area under each: {', '.join(names)}"),
        key(names, range(len(names))),
        tag("figcaption", "The number is the area under the curve (AUROC); the diagonal is 0.5."),
    )


def training_plots(path: Path, epoch: int | None) -> list[Markup]:
    """Return the curves of a run's training.csv; nothing where there is none.

    Args:
        path: training.csv.
        epoch: of the checkpoint, which is marked.
    """
    rows = _read_history(path)
    if len({row["epoch"] for row in rows}) < 2:
        return []
    panels = [
        _training_plot(name.removeprefix("val_"), rows, epoch)
        for name in rows[0]
        if name.startswith("val_") and name.removeprefix("val_") in rows[0]
    ]
    return [panel for panel in panels if panel]


def _read_history(path: Path) -> list[dict[str, float]]:
    """Return the epochs of training.csv; none where it is missing or no such table."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        read = [{name: float(value or "nan") for name, value in row.items()} for row in rows]
        return [row for row in read if math.isfinite(row["epoch"])]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _training_plot(name: str, rows: list[dict[str, float]], epoch: int | None) -> Markup | None:
    lines = [
        [(row["epoch"], row[key]) for row in rows if math.isfinite(row[key])]
        for key in (name, f"val_{name}")
    ]
    if not all(lines):
        return None
    values = [value for line in lines for _, value in line]
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 0.05
    epochs = (rows[0]["epoch"], rows[-1]["epoch"])
    marks = {value: f"{value:.0f}" for value in round_numbers(*epochs) if value == int(value)}
    plot = Plot(epochs, (low - margin, high + margin), ("epoch", name), 260, (marks, None))
    described = f"Training curve: {name}; last epoch {lines[0][-1][1]:.3f}, validation "
    described += f"{lines[1][-1][1]:.3f}"
    if epoch is not None and epochs[0] <= epoch <= epochs[1]:
        plot.guide((epoch, low - margin), (epoch, high + margin))
        described += f"; the checkpoint is of epoch {epoch}"
    for colour, line in enumerate(lines):
        dot = 2.5 if len(line) < 40 else 0
        plot.curve(*zip(*line, strict=True), colour=colour, dot=dot)
    return tag(
        "figure", tag("h3", name), plot.svg(described), key(["training", "validation"], (0, 1))
    )
