"""Plots of a page as SVG, in the page's own colours: they follow light, dark and print."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ferplus_keras import templates
from ferplus_keras.evaluation.calibration import BINS

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

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


def plot_reliability(
    found: dict[str, list], scaled: dict[str, list] | None, description: str
) -> Markup:
    """Plot accuracy over confidence, and how many faces have each confidence.

    Args:
        found: as `calibration.reliability` returns it.
        scaled: the same at the fitted temperature; None draws one line only.
        description: read aloud in place of the drawing.
    """

    def draw(axes: Axes) -> None:
        _percentages(axes, "confidence", "accuracy")
        heights = 0.25 * np.array(found["rows"]) / max(found["rows"])
        axes.bar(np.arange(BINS) / BINS, heights, 0.93 / BINS, align="edge", color=HEAT)
        for bins in filter(None, (found, scaled)):
            known = np.array([bins["confidence"], bins["accuracy"]], float)
            axes.plot(*known[:, np.array(bins["rows"]) > 0], marker="o", markersize=4.5)

    return _svg(draw, description)


def plot_roc(labels: np.ndarray, probabilities: np.ndarray, description: str) -> Markup:
    """Plot the ROC curve of each class against the rest, where both sides have rows.

    Args:
        labels: (n,) int.
        probabilities: (n, C) float.
        description: read aloud in place of the drawing.
    """
    from sklearn.metrics import roc_curve

    def draw(axes: Axes) -> None:
        _percentages(axes, "others taken for the class", "faces of the class found")
        for index, scores in enumerate(probabilities.T):
            truth = labels == index
            wrong = right = np.zeros(0)  # an empty line keeps the colours in step with the classes
            if truth.any() and not truth.all():
                wrong, right, _ = roc_curve(truth, scores)
            drawn = np.linspace(0, len(wrong) - 1, min(len(wrong), POINTS)).round().astype(int)
            axes.plot(wrong[drawn], right[drawn])

    return _svg(draw, description)


def plot_history(rows: Sequence[dict[str, float]], epoch: int | None) -> list[tuple[str, Markup]]:
    """Plot whatever training.csv has of both training and validation, by epoch.

    Args:
        rows: one dictionary per epoch, as `Run.history` returns them.
        epoch: that of the checkpoint, which is marked.

    Returns:
        Names with their plots; nothing for fewer than two epochs.
    """
    if len({row.get("epoch") for row in rows}) < 2:
        return []
    plots = []
    for name in rows[0]:
        lines = [
            [(row["epoch"], row[key]) for row in rows if math.isfinite(row.get(key, math.nan))]
            for key in (name, f"val_{name}")
        ]
        if not all(lines):
            continue

        def draw(axes: Axes, name: str = name, lines: list = lines) -> None:
            if epoch:
                axes.axvline(epoch, **GUIDE)
            for points in lines:
                marker = "o" if len(points) < 40 else None
                axes.plot(*zip(*points, strict=True), marker=marker, markersize=3.5)
            axes.set(xlabel="epoch", ylabel=name)
            axes.xaxis.get_major_locator().set_params(integer=True)

        last = f"last epoch {lines[0][-1][1]:.3f}, validation {lines[1][-1][1]:.3f}"
        plots.append((name, _svg(draw, f"Training curve: {name}; {last}", height=2.9)))
    return plots


def _percentages(axes: Axes, x: str, y: str) -> None:
    """Make both axes run from 0 to 100 %, with a dashed diagonal."""
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel=x, ylabel=y)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.plot([0, 1], [0, 1], **GUIDE)


def _svg(draw: Callable[[Axes], None], description: str, height: float = 4) -> Markup:
    """Return what `draw` puts into axes as an SVG element."""
    import matplotlib
    from markupsafe import Markup, escape
    from matplotlib.figure import Figure

    drawn = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": description}, STYLE):
        figure = Figure(figsize=(4.8, height))
        draw(figure.add_subplot())
        figure.savefig(drawn, format="svg", transparent=True)
    box, text = re.search(r'<svg.*?(viewBox="[^"]*").*?>(.*)', drawn.getvalue(), re.S).groups()
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r' id="[a-zA-Z.]+\d*_\d+"', "", text)  # of groups: two plots would share them
    text = re.sub("#0[cd]0[cd][0-9a-f]{2}", lambda found: THEME[found[0]], text)
    return Markup(f'<svg {box} role="img" aria-label="{escape(description)}">{text}')
