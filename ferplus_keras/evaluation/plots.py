"""The pictures of an evaluation: PNG files, and SVG in the colours of the page around it."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras import templates
from ferplus_keras.evaluation.calibration import BINS
from ferplus_keras.files import replacing
from ferplus_keras.lazy import markupsafe, metrics, pandas, plt

STYLE = templates.FOLDER / "plots.mplstyle"
QUIET, HEAT = "#0d0d01", "#0d0d03"
THEME = {
    **{f"#0c0c{index:02x}": f"var(--c{index})" for index in range(10)},
    QUIET: "var(--quiet)",
    "#0d0d02": "var(--line)",
    HEAT: "rgb(var(--heat) / .25)",
}
"""Colour that Matplotlib draws with -> the style sheet's variable that takes its place."""

GUIDE = {"color": QUIET, "linestyle": "--", "linewidth": 1}

POINTS = 120
"""Points of a ROC curve that are drawn."""


def draw_confusion(report: dict[str, Any], path: Path) -> None:
    """Draw one confusion matrix per split: shares of the true class, counts in small print.

    The PNG file has the report's `evaluation_id` as a text.
    """
    splits, names = report["splits"], report["class_names"]
    side = max(5.8, 0.42 * len(names) + 0.1 * max(map(len, names)))
    figure = plt.Figure(figsize=((side + 0.4) * len(splits), side), layout="constrained")
    subplots = figure.subplots(1, len(splits), squeeze=False)[0]
    for axes, (name, scores) in zip(subplots, splits.items(), strict=True):
        counts = np.array(scores["confusion_matrix"])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        drawn = metrics.ConfusionMatrixDisplay(shares, display_labels=names)
        limits, small = {"vmin": 0, "vmax": 1}, {"fontsize": 7.5}
        drawn.plot(cmap="Blues", ax=axes, colorbar=False, im_kw=limits, text_kw=small)
        for place, text in np.ndenumerate(drawn.text_):
            share = f"{shares[place]:.0%}" if shares[place] > 0.005 else "<1%"
            text.set_text(f"{share}\n{counts[place]:,}" if counts[place] else "")
            text.set_color("white" if shares[place] > 0.65 else "black")
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
        title = f"{name}: accuracy {scores['accuracy']:.4f}, n = {scores['n']:,}"
        axes.set(xlabel="predicted", ylabel="true", title=title)
    title = f"{report['model']} on {report['dataset_name']}, {report['label_rule']}"
    _save(figure, title, path, evaluation_id=report["evaluation_id"])


def draw_comparison(found: dict[str, Any], path: Path) -> None:
    """Draw accuracies, differences and each class's F1, as `compare_reports` returns them."""
    runs, pairs, classes = found["runs"], found["pairs"], found["class_names"]
    colours = [plt.get_cmap("tab10")(index % 10) for index in range(len(runs))]
    width = max(9.0, 0.7 + len(classes) * max(0.8, 0.2 * len(runs)))
    width += 0.15 * max(0, max(len(run["name"]) for run in runs) - 20)
    longest = len(max(classes, key=len))
    height = 4.2 + 0.4 * len(runs) + 0.06 * max(0, longest - 10)
    figure = plt.Figure(figsize=(width, height), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(0.9 + 0.4 * len(runs), 3))

    axes = figure.add_subplot(grid[0, 0])
    _whiskers(axes, [run["name"] for run in runs], runs, "accuracy", colours)
    axes.set_title("accuracy, 95 % interval", fontsize=10)

    axes = figure.add_subplot(grid[0, 1])
    axes.axvline(0, color="#555555", linewidth=1)
    names = [f"{pair['second']}\np = {pair['p_holm']:.2g}" for pair in pairs]
    _whiskers(axes, names, pairs, "difference", colours[1:])
    axes.set_title("difference from the first, on common rows", fontsize=10)

    axes = figure.add_subplot(grid[1, :])
    f1 = pandas.DataFrame({run["name"]: run["per_class_f1"] for run in runs}, dtype=float)
    f1.loc[classes].plot.bar(
        ax=axes, color=colours, edgecolor="white", width=0.8, ylabel="F1", ylim=(0, 1)
    )
    turned = {"rotation": 30, "ha": "right"} if longest > 10 else {"rotation": 0}
    axes.set_xticks(range(len(classes)), classes, **turned)
    for bar, known in zip(axes.patches, f1.loc[classes].notna().T.to_numpy().flat, strict=True):
        if not known:  # its bar has no height, as that of 0
            place = bar.get_x() + bar.get_width() / 2
            axes.text(place, 0.01, "not defined", rotation=90, ha="center", fontsize=7)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    columns = 3 if len(max(f1.columns, key=len)) < 35 else 1
    axes.legend(frameon=False, fontsize=9, ncols=columns, loc="lower left", bbox_to_anchor=(0, 1))
    differ = "; protocols differ" if found["protocol_differences"] else ""
    _save(figure, f"{found['split']}{differ}", path)


def _whiskers(axes: plt.Axes, names: list[str], found: list[dict], key: str, colours: list) -> None:
    """Draw a number as a dot with its interval, a line each, the first on top."""
    for place, (each, colour) in enumerate(zip(found, colours, strict=True)):
        axes.plot(each[f"{key}_interval"], [place, place], color=colour, linewidth=2)
        axes.plot(each[key], place, "o", color=colour)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.3)


def _save(figure: plt.Figure, title: str, path: Path, **written: str) -> None:
    """Write a PNG file with a title, and texts that programs can read."""
    figure.suptitle(title, fontsize=12)
    for text in figure.findobj(plt.Text):  # of names, in which $ is no formula
        text.set_parse_math(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, metadata=written)


def plot_reliability(
    found: dict[str, list], scaled: dict[str, list] | None, description: str
) -> markupsafe.Markup:
    """Plot accuracy over confidence, and how many faces have each confidence.

    `found` is what `calibration.reliability` returns, and `scaled` the same at the fitted
    temperature, if there is one. `description` is read aloud in place of the drawing.
    """

    def draw(axes: plt.Axes) -> None:
        _percentages(axes, "confidence", "accuracy")
        heights = 0.25 * np.array(found["rows"]) / max(found["rows"])
        axes.bar(np.arange(BINS) / BINS, heights, 0.93 / BINS, align="edge", color=HEAT)
        for bins in filter(None, (found, scaled)):
            known = np.array([bins["confidence"], bins["accuracy"]], float)
            axes.plot(*known[:, np.array(bins["rows"]) > 0], marker="o", markersize=4.5)

    return _svg(draw, description)


def plot_roc(labels: np.ndarray, probabilities: np.ndarray, description: str) -> markupsafe.Markup:
    """Plot the ROC curve of each class against the rest, where both sides have rows.

    `labels` are (n,) int, `probabilities` (n, C) float.
    """

    def draw(axes: plt.Axes) -> None:
        _percentages(axes, "others taken for the class", "faces of the class found")
        for index, scores in enumerate(probabilities.T):
            truth = labels == index
            wrong = right = np.zeros(0)  # an empty line keeps the colours in step with the classes
            if truth.any() and not truth.all():
                wrong, right, _ = metrics.roc_curve(truth, scores)
            drawn = np.linspace(0, len(wrong) - 1, min(len(wrong), POINTS)).round().astype(int)
            axes.plot(wrong[drawn], right[drawn])

    return _svg(draw, description)


def plot_history(
    rows: Sequence[dict[str, float]], epoch: int | None
) -> list[tuple[str, markupsafe.Markup]]:
    """Plot whatever training.csv has of both training and validation, by epoch.

    `rows` are those of `Run.history`; the checkpoint's `epoch` is marked. Returns names with their
    plots; nothing for fewer than two epochs.
    """
    if len({row.get("epoch") for row in rows}) < 2:
        return []

    def draw(axes: plt.Axes) -> None:
        if epoch:
            axes.axvline(epoch, **GUIDE)
        for points in lines:
            marker = "o" if len(points) < 40 else None
            axes.plot(*zip(*points, strict=True), marker=marker, markersize=3.5)
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True)

    plots = []
    for name in rows[0]:
        lines = [
            [(row["epoch"], row[key]) for row in rows if math.isfinite(row.get(key, math.nan))]
            for key in (name, f"val_{name}")
        ]
        if all(lines):
            last = f"last epoch {lines[0][-1][1]:.3f}, validation {lines[1][-1][1]:.3f}"
            plots.append((name, _svg(draw, f"Training curve: {name}; {last}", height=2.9)))
    return plots


def _percentages(axes: plt.Axes, x: str, y: str) -> None:
    """Make both axes run from 0 to 100 %, with a dashed diagonal."""
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel=x, ylabel=y)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.plot([0, 1], [0, 1], **GUIDE)


def _svg(
    draw: Callable[[plt.Axes], None], description: str, height: float = 4
) -> markupsafe.Markup:
    """Return what `draw` puts into axes as an SVG element."""
    drawn = io.StringIO()
    with plt.rc_context({"svg.hashsalt": description}, STYLE):
        figure = plt.Figure(figsize=(4.8, height))
        draw(figure.add_subplot())
        figure.savefig(drawn, format="svg", transparent=True)
    box, text = re.search(r'<svg.*?(viewBox="[^"]*").*?>(.*)', drawn.getvalue(), re.S).groups()
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r' id="[a-zA-Z\d.]+_\d+"', "", text)  # of groups: two plots would share them
    text = re.sub("#0[cd]0[cd][0-9a-f]{2}", lambda found: THEME[found[0]], text)
    label = markupsafe.escape(description)
    return markupsafe.Markup(f'<svg {box} role="img" aria-label="{label}">{text}')
