"""The pictures of an evaluation and of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ferplus_keras.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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


COLOURS = "tab10"
"""Matplotlib's colours of the runs, one after the other."""


def draw_comparison(found: dict[str, Any], path: Path) -> None:
    """Draw compare.png.

    Args:
        found: as `compare_runs` returns it.
        path: PNG file, replaced whole.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    runs, pairs, classes = found["runs"], found["pairs"], found["class_names"]
    colours = [colormaps[COLOURS](index % 10) for index in range(len(runs))]
    width = max(9.0, 0.7 + len(classes) * max(0.8, 0.2 * len(runs)))
    figure = Figure(figsize=(width, 4.2 + 0.4 * len(runs)), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(0.9 + 0.4 * len(runs), 3))
    axes = figure.add_subplot(grid[0, 0])
    _whiskers(
        axes,
        [run["name"] for run in runs],
        [run["accuracy"] for run in runs],
        [run["accuracy_interval"] for run in runs],
        colours,
    )
    axes.set_title("accuracy, 95 % interval", fontsize=10)
    axes = figure.add_subplot(grid[0, 1])
    axes.axvline(0, color="#555555", linewidth=1)
    _whiskers(
        axes,
        [f"{pair['second']}\np {pair['p_holm']:.2g}" for pair in pairs],
        [pair["difference"] for pair in pairs],
        [pair["difference_interval"] for pair in pairs],
        colours[1:],
    )
    axes.set_title(f"difference to {runs[0]['name']} on common rows", fontsize=10)
    _class_bars(figure.add_subplot(grid[1, :]), found, colours)
    same = "" if not found["protocol_differences"] else "; protocols differ"
    figure.suptitle(f"{found['split']}{same}", fontsize=12)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _whiskers(
    axes: Axes,
    names: list[str],
    values: list[float],
    intervals: list[list[float]],
    colours: list,
) -> None:
    """Draw a dot with its interval a line, the first on top."""
    for place, (value, (low, high), colour) in enumerate(
        zip(values, intervals, colours, strict=True)
    ):
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot(value, place, "o", color=colour)
    axes.set_yticks(range(len(names)), names, fontsize=9, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.3)


def _class_bars(axes: Axes, found: dict[str, Any], colours: list) -> None:
    runs, classes = found["runs"], found["class_names"]
    wide = 0.8 / len(runs)
    for index, (run, colour) in enumerate(zip(runs, colours, strict=True)):
        heights = [run["per_class_f1"][name] for name in classes]
        places = np.arange(len(classes)) + (index - (len(runs) - 1) / 2) * wide
        axes.bar(
            places,
            [height or 0 for height in heights],
            wide * 0.92,
            color=colour,
            label=run["name"],
        )
        for place, height in zip(places, heights, strict=True):
            if height is None:
                axes.text(place, 0.01, "not defined", rotation=90, ha="center", fontsize=7)
    axes.set_xticks(range(len(classes)), classes, parse_math=False)
    axes.set_ylabel("F1")
    axes.set_ylim(0, 1)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(
        frameon=False, fontsize=9, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0.1
    )
