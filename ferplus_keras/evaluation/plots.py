"""The pictures of an evaluation and of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ferplus_keras.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_confusion(report: dict[str, Any], path: Path) -> None:
    """Draw one confusion matrix per split: shares of the true class, counts in small print."""
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

    splits, names = report["splits"], report["class_names"]
    figure = Figure(figsize=(6.2 * len(splits), 5.8), layout="constrained")
    subplots = figure.subplots(1, len(splits), squeeze=False)[0]
    for axes, (name, scores) in zip(subplots, splits.items(), strict=True):
        counts = np.array(scores["confusion_matrix"])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        drawn = ConfusionMatrixDisplay(shares, display_labels=names)
        drawn.plot(
            cmap="Blues",
            ax=axes,
            colorbar=False,
            im_kw={"vmin": 0, "vmax": 1},
            text_kw={"fontsize": 7.5},
        )
        for place, text in np.ndenumerate(drawn.text_):
            text.set_text(f"{shares[place]:.0%}\n{counts[place]}" if counts[place] else "")
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right", parse_math=False)
        title = f"{name}: accuracy {scores['accuracy']:.4f}, n = {scores['n']}"
        axes.set(xlabel="predicted", ylabel="true", title=title)
    figure.suptitle(
        f"{report['model']} on {report['dataset_name']}, {report['label_rule']}", fontsize=12
    )
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def draw_comparison(found: dict[str, Any], path: Path) -> None:
    """Draw compare.png: accuracies, differences and each class's F1 of several runs.

    Args:
        found: as `compare_reports` returns it.
        path: PNG file, replaced whole.
    """
    import pandas
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    runs, pairs, classes = found["runs"], found["pairs"], found["class_names"]
    colours = [colormaps["tab10"](index % 10) for index in range(len(runs))]
    width = max(9.0, 0.7 + len(classes) * max(0.8, 0.2 * len(runs)))
    figure = Figure(figsize=(width, 4.2 + 0.4 * len(runs)), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(0.9 + 0.4 * len(runs), 3))

    axes = figure.add_subplot(grid[0, 0])
    entries = [(run["name"], run["accuracy"], run["accuracy_interval"]) for run in runs]
    _whiskers(axes, entries, colours)
    axes.set_title("accuracy, 95 % interval", fontsize=10)

    axes = figure.add_subplot(grid[0, 1])
    axes.axvline(0, color="#555555", linewidth=1)
    entries = [
        (
            f"{pair['second']}\np {pair['p_holm']:.2g}",
            pair["difference"],
            pair["difference_interval"],
        )
        for pair in pairs
    ]
    _whiskers(axes, entries, colours[1:])
    axes.set_title(f"difference to {runs[0]['name']} on common rows", fontsize=10)

    axes = figure.add_subplot(grid[1, :])
    f1 = pandas.DataFrame({run["name"]: run["per_class_f1"] for run in runs}, dtype=float)
    f1.loc[classes].plot.bar(
        ax=axes, color=colours, edgecolor="white", width=0.8, ylabel="F1", ylim=(0, 1), rot=0
    )
    axes.set_xticks(range(len(classes)), classes, parse_math=False)
    for bar in (bar for bars in axes.containers for bar in bars):
        if np.isnan(bar.get_height()):
            place = bar.get_x() + bar.get_width() / 2
            axes.text(place, 0.01, "not defined", rotation=90, ha="center", fontsize=7)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    same = "; protocols differ" if found["protocol_differences"] else ""
    figure.suptitle(f"{found['split']}{same}", fontsize=12)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _whiskers(
    axes: Axes, entries: list[tuple[str, float, tuple[float, float]]], colours: list
) -> None:
    """Draw a dot with its interval per line, the first on top."""
    for place, ((_, value, interval), colour) in enumerate(zip(entries, colours, strict=True)):
        axes.plot(interval, [place, place], color=colour, linewidth=2)
        axes.plot(value, place, "o", color=colour)
    axes.set_yticks(
        range(len(entries)), [name for name, *_ in entries], fontsize=9, parse_math=False
    )
    axes.set_ylim(len(entries) - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.3)
