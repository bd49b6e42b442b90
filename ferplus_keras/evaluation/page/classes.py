"""The classes of a split: which is taken for which, and how well each is found."""

from __future__ import annotations

from typing import Any

import numpy as np

from ferplus_keras.page.markup import (
    NOT_DEFINED,
    PERCENT,
    Markup,
    bar_cell,
    decimal,
    join,
    percent,
    table,
    tag,
)

COLUMNS = (
    ("support", "faces"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("f1", "F1"),
    ("auroc", "AUROC"),
    ("average_precision", "average precision"),
)
"""Key in the report's `per_class`, and head of the column."""


def confusion_table(name: str, split: dict[str, Any], class_names: list[str]) -> Markup:
    """Return the confusion matrix: of each true class the shares, with counts beneath."""
    counts = np.array(split["confusion_matrix"])
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    rows = [
        [join([true, tag("small", f"{totals[i, 0]:,} faces")])]
        + [_cell(counts[i, j], shares[i, j], i == j) for j in range(len(class_names))]
        for i, true in enumerate(class_names)
    ]
    caption = (
        f"{name}: a row a true class, a column a predicted one; share of the row, count beneath"
    )
    heads = ["", *(tag("span", predicted) for predicted in class_names)]
    return tag("div", table(caption, heads, rows, class_="matrix"), class_="panel")


def _cell(count: int, share: float, right: bool) -> Markup:
    return tag(
        "td",
        (percent(share, 0) if share >= 0.005 else f"<1{PERCENT}") if count else "0",
        tag("small", f"{count:,}") if count else "",
        style=f"--v:{share:.3f}",
        class_="right" if right else None if count else "none",
    )


def class_table(name: str, split: dict[str, Any]) -> Markup:
    """Return the scores of each class as numbers with bars behind them."""
    most = max(of["support"] for of in split["per_class"].values())
    rows = [
        [class_name, *(_bar(of[key], most if key == "support" else 1) for key, _ in COLUMNS)]
        for class_name, of in split["per_class"].items()
    ]
    return tag(
        "div",
        table(f"{name}: each class", ["", *(head for _, head in COLUMNS)], rows, "wide"),
        class_="panel",
    )


def _bar(value: float | None, most: int) -> Markup:
    if value is None:
        return tag("td", NOT_DEFINED, class_="quiet")
    text = f"{value:,}" if isinstance(value, int) else decimal(value)
    return bar_cell(text, value / max(most, 1))
