"""Pictures of explanations: a row a face or class, a column a method, one legend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.explain.class_means import ClassMeans
from ferplus_keras.explain.explanations import Explanations
from ferplus_keras.explain.methods import Method
from ferplus_keras.files import replacing

ROWS_A_PAGE = 8

FOR, AGAINST = (0.85, 0.25, 0.0), (0.0, 0.35, 0.85)
"""Red for what speaks for a class, blue for what speaks against it; told apart by the colour-blind.
A map without signs is drawn in the first."""

OPACITY = 0.85
"""Of the strongest colour: some of the face still shows."""

BLACK = 0.25
"""Grey, 0-1, as which black is drawn under a map: colours would drown in dark faces."""

FULL_COLOUR = 99.0
"""Percentile of a map's absolute values that gets the strongest colour: the few pixels above it
would leave the rest pale."""

_PANEL, _GAP, _TITLE, _HEAD, _LEGEND, _MARGIN = 1.5, 0.08, 0.27, 0.3, 0.75, 0.12  # inches
_WIDEST_TEXT = 5.6


class _Row(NamedTuple):
    title: str
    pictures: list[np.ndarray]  # (48, 48, 3) 0-1


def draw_explanations(found: Explanations, folder: Path) -> list[Path]:
    """Draw explanations.png, or explanations_1.png, _2 … when there are many faces.

    Pages that an earlier call left in the folder are removed.

    Returns:
        The files written.
    """
    rows = []
    for index, face in enumerate(found.faces.images):
        maps = found.maps[index]
        pictures = [_grey(face), *(overlay(face, each) for each in maps)]
        rows.append(_Row(_title(found, index), pictures))
    heads = ["face", *(method.title for method in found.methods)]
    note = _note(found.methods)
    pages = [rows[i : i + ROWS_A_PAGE] for i in range(0, len(rows), ROWS_A_PAGE)]
    for old in folder.glob("explanations*.png"):
        if old.stem == "explanations" or old.stem.removeprefix("explanations_").isdigit():
            old.unlink()
    names = ["explanations.png"]
    if len(pages) > 1:
        names = [f"explanations_{number}.png" for number in range(1, len(pages) + 1)]
    paths = [folder / name for name in names]
    for path, page in zip(paths, pages, strict=True):
        _draw(heads, page, note, path)
    return paths


def draw_class_means(found: ClassMeans, path: Path) -> None:
    """Draw each class's mean face and its mean maps: of all faces, and of those recognised."""
    rows = []
    for index, name in enumerate(found.class_names):
        total, right = found.counts[:, index]
        if total:
            face = found.faces[index]
            blank = np.ones((*face.shape, 3))
            maps = [
                overlay(face, maps[method]) if np.isfinite(maps).all() else blank
                for method in range(len(found.methods))
                for maps in found.maps[:, index]
            ]
            faces = "face" if total == 1 else "faces"
            title = f"{name}: {total:,} {faces}, {right:,} recognised"
            rows.append(_Row(title, [_grey(face), *maps]))
    heads = ["mean face"]
    for method in found.methods:
        heads += [f"{method.title},\nall", f"{method.title},\nrecognised"]
    _draw(heads, rows, _note(found.methods), path)


def overlay(face: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Lay a map over a face.

    Args:
        face: (48, 48) grey levels 0-255.
        values: (48, 48), above 0 drawn red, below 0 blue, 0 not at all.

    Returns:
        (48, 48, 3) float, 0-1.
    """
    strength = np.abs(values)
    full = np.percentile(strength, FULL_COLOUR) or strength.max() or 1.0
    return _coloured(BLACK + (1 - BLACK) * _grey(face), values / full)


def _coloured(picture: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Mix a picture (h, w, 3) with the colour of a strength (h, w), -1 to 1."""
    opacity = OPACITY * np.minimum(np.abs(strength), 1)[..., None]
    colour = np.where(strength[..., None] >= 0, FOR, AGAINST)
    return (1 - opacity) * picture + opacity * colour


def _grey(face: np.ndarray) -> np.ndarray:
    return np.repeat(np.asarray(face, float)[..., None] / 255, 3, axis=-1)


def _title(found: Explanations, index: int) -> str:
    best = found.probabilities[index].argmax()
    explained = found.classes[index]
    parts = [
        f"{found.faces.names[index]}: {found.class_names[best]} "
        f"{found.probabilities[index, best]:.0%}"
    ]
    if found.faces.labels[index] is not None:
        parts.append(f"true class {found.faces.labels[index]}")
    why = f"why {found.class_names[explained]}?"
    if explained != best:
        why += f" ({found.probabilities[index, explained]:.0%})"
    return "   ".join([*parts, why])


def _note(methods: Sequence[Method]) -> str:
    """Return what the legend must say of these methods besides its colours."""
    scale = "every map has its own scale"
    absolute = [method.title for method in methods if method.absolute]
    if not absolute:
        return scale[0].upper() + scale[1:]
    return f"{', '.join(absolute)}: red is how much, for or against; {scale}"


def _draw(heads: Sequence[str], rows: Sequence[_Row], note: str, path: Path) -> None:
    """Draw one page; places are counted in inches from its upper left corner."""
    from matplotlib.figure import Figure

    columns = len(heads)
    head = _HEAD if max(text.count("\n") for text in heads) == 0 else 1.6 * _HEAD
    width = max(2 * _MARGIN + columns * _PANEL + (columns - 1) * _GAP, _WIDEST_TEXT)
    height = head + len(rows) * (_TITLE + _PANEL) + _LEGEND + _MARGIN
    figure = Figure(figsize=(width, height))

    def place(x, y, w, h):
        return (x / width, 1 - (y + h) / height, w / width, h / height)

    lefts = [_MARGIN + column * (_PANEL + _GAP) for column in range(columns)]
    for left, text in zip(lefts, heads, strict=True):
        x, y, *_ = place(left + _PANEL / 2, head - 0.08, 0, 0)
        figure.text(x, y, text, ha="center", va="bottom", fontsize=10, fontweight="bold")
    for number, row in enumerate(rows):
        above = head + number * (_TITLE + _PANEL)
        x, y, *_ = place(_MARGIN, above + _TITLE - 0.06, 0, 0)
        figure.text(x, y, row.title, ha="left", va="bottom", fontsize=9.5, parse_math=False)
        for left, picture in zip(lefts, row.pictures, strict=True):
            axes = figure.add_axes(place(left, above + _TITLE, _PANEL, _PANEL))
            axes.imshow(picture, vmin=0, vmax=1, interpolation="nearest")
            axes.set_axis_off()
    _draw_legend(figure, place, note, head + len(rows) * (_TITLE + _PANEL))
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _draw_legend(figure, place, note: str, above: float) -> None:
    axes = figure.add_axes(place(_MARGIN + 0.85, above + 0.2, 1.9, 0.14))
    strength = np.linspace(-1, 1, 256)[None]
    axes.imshow(_coloured(np.full((1, 256, 3), 0.6), strength), aspect="auto")
    axes.set_axis_off()
    texts = (
        (_MARGIN + 0.78, "right", "against"),
        (_MARGIN + 2.82, "left", "for the class"),
    )
    for left, side, text in texts:
        x, y, *_ = place(left, above + 0.27, 0, 0)
        figure.text(x, y, text, ha=side, va="center", fontsize=9)
    x, y, *_ = place(_MARGIN, above + 0.57, 0, 0)
    figure.text(x, y, note, ha="left", va="center", fontsize=9)
