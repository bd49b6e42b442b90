"""audit.html: an audit on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.emotions import VOTE_COLUMNS
from ferplus_keras.evaluation.audit_findings import Rows
from ferplus_keras.templates import png, write_page

SHOWN = 12
"""Samples of each class, and rows or groups of each kind."""


def write_audit_page(
    findings: dict[str, Any], rows: Rows, path: Path, title: str, seed: int = 0
) -> None:
    """Write audit.html whole.

    Args:
        findings: as `audit_findings.find` returns them.
        rows: as the audit read them.
        path: HTML file, replaced whole.
        title: heading of the page.
        seed: draws the sample faces.
    """

    def label(row: int) -> str:
        if rows.labels.keep[row]:
            return f"label {rows.class_names[rows.label[row]]}"
        return f"dropped, {rows.labels.reasons[row]}"

    duplicates = findings["twins"]
    write_page(
        path,
        "audit.html",
        title=title,
        subtitle=f"{findings['rows']:,} rows, labelled by {findings['label_rule']}",
        findings={"disagreement": None} | findings,
        class_names=rows.class_names,
        vote_columns=VOTE_COLUMNS,
        shown=SHOWN,
        strips=_strips(rows, np.random.default_rng(seed)),
        largest=[
            _card(rows, group["row"], f"{group['rows']} rows, the first is {group['row']}")
            for group in duplicates["largest"]
        ],
        votes_differ=[
            _card(rows, row, f"row {row}, {rows.splits[row]}")
            for group in duplicates.get("votes_differ", ())[:SHOWN]
            for row in group
        ],
        ambiguous=[
            _card(rows, row, f"row {row}, {rows.splits[row]}: {label(row)}")
            for row in (found["row"] for found in findings.get("ambiguous", ()))
        ],
    )


def _strips(rows: Rows, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return for each class its mean face and some of its faces, duplicates once."""
    strips = []
    for index, name in enumerate(rows.class_names):
        of_class = np.flatnonzero(rows.labels.keep & (rows.label == index))
        if of_class.size:
            firsts = of_class[np.unique(rows.groups[of_class], return_index=True)[1]]
            drawn = np.sort(rng.choice(firsts, min(SHOWN, firsts.size), replace=False))
            mean = rows.images[of_class].mean(axis=0).round().astype(np.uint8)
            faces = [(int(row), png(rows.images[row])) for row in drawn]
            strips.append({"name": name, "rows": of_class.size, "mean": png(mean), "faces": faces})
    return strips


def _card(rows: Rows, row: int, text: str) -> dict[str, Any]:
    """Return what a card shows of a row: face, text and votes."""
    votes = [] if rows.votes is None else rows.votes[row].tolist()
    return {
        "png": png(rows.images[row]),
        "text": text,
        "votes": [(votes[i] / 10, str(votes[i] or "")) for i in range(len(votes))],
    }
