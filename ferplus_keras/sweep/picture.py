"""The picture of a sweep: how the best rose, and the metric by each searched flag."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferplus_keras.files import replacing
from ferplus_keras.sweep.plan import Plan
from ferplus_keras.sweep.space import Choices, Space
from ferplus_keras.training.curves import TRAIN_COLOUR, VALIDATION_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
"""Panels a row below the history."""


def draw_sweep(plan: Plan, rows: list[dict[str, Any]], path: Path) -> None:
    """Draw sweep.png.

    Args:
        plan: the sweep.
        rows: one dictionary a trial, as `report.sweep_rows` returns them; one or more complete.
        path: PNG file, replaced whole.
    """
    from matplotlib.figure import Figure

    rows = [row for row in rows if row["state"] == "complete"]
    listed = [flag for flag, space in plan.search.items() if isinstance(space, Choices)]
    panels = [*plan.search, *(["heat map"] if len(listed) == 2 else [])]
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(max(4.2 * columns, 6), 3 + 3.4 * lines), layout="constrained")
    grid = figure.add_gridspec(1 + lines, columns)
    _draw_history(plan, rows, figure.add_subplot(grid[0, :]))
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(grid[1 + index // columns, index % columns])
        if panel == "heat map":
            _draw_heat_map(plan, rows, listed, axes)
        else:
            _draw_flag(plan, rows, panel, plan.search[panel], axes)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _draw_history(plan: Plan, rows: list[dict[str, Any]], axes: Axes) -> None:
    numbers = [row["number"] for row in rows]
    values = [row[plan.metric] for row in rows]
    best = list(accumulate(values, plan.better))
    axes.plot(numbers, values, "o", color=TRAIN_COLOUR, alpha=0.7, label="trial")
    axes.step(numbers, best, where="post", color=VALIDATION_COLOUR, label="best so far")
    winner = numbers[values.index(best[-1])]
    axes.set_title(f"{plan.metric}: best {best[-1]:.4f} in trial {winner}", fontsize=10)
    axes.set_xlabel("trial")
    axes.set_ylabel(plan.metric)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def _draw_flag(plan: Plan, rows: list[dict[str, Any]], flag: str, space: Space, axes: Axes) -> None:
    """Draw every trial over its value of one flag; of a list of choices also each one's best."""
    places = [row[flag] for row in rows]
    values = [row[plan.metric] for row in rows]
    if isinstance(space, Choices):
        labels = space.labels
        places = [labels.index(place) for place in places]
        for place in sorted(set(places)):
            best = plan.better(v for v, p in zip(values, places, strict=True) if p == place)
            axes.plot([place - 0.25, place + 0.25], [best, best], color=VALIDATION_COLOUR)
        axes.set_xlim(-0.5, len(labels) - 0.5)
        _name_ticks(axes.set_xticks, labels, rotation=25, ha="right")
    elif space.log:
        axes.set_xscale("log")
    axes.plot(places, values, "o", color=TRAIN_COLOUR, alpha=0.6)
    axes.set_xlabel(flag)
    axes.set_ylabel(plan.metric)
    axes.grid(alpha=0.3)


def _draw_heat_map(plan: Plan, rows: list[dict[str, Any]], listed: list[str], axes: Axes) -> None:
    """Draw the best trial of every pair of two listed flags; a pair without one stays white."""
    import numpy as np

    across, down = (plan.search[flag].labels for flag in listed)
    cells = np.full((len(down), len(across)), np.nan)
    for row in rows:
        place = down.index(row[listed[1]]), across.index(row[listed[0]])
        value = row[plan.metric]
        cells[place] = value if np.isnan(cells[place]) else plan.better(cells[place], value)
    colours = "viridis" if plan.direction == "maximize" else "viridis_r"
    image = axes.imshow(cells, aspect="auto", cmap=colours)
    for (y, x), value in np.ndenumerate(cells):
        if not np.isnan(value):
            ink = "black" if image.cmap(image.norm(value))[1] > 0.5 else "white"
            axes.text(x, y, f"{value:.3f}", ha="center", va="center", color=ink)
    _name_ticks(axes.set_xticks, across, rotation=25, ha="right")
    _name_ticks(axes.set_yticks, down)
    axes.set_xlabel(listed[0])
    axes.set_ylabel(listed[1])
    axes.set_title(f"best {plan.metric}", fontsize=10)


def _name_ticks(set_ticks, labels: list[str], **style) -> None:
    set_ticks(range(len(labels)), labels, fontsize=8, **style)
