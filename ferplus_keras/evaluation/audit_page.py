"""audit.html: what its template shows of an audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ferplus_keras.emotions import VOTE_COLUMNS
from ferplus_keras.templates import png, write_page

if TYPE_CHECKING:
    import pandas

SHOWN = 12
"""Samples of each class, and rows or groups of each kind."""


def write_audit_page(
    findings: dict[str, Any],
    table: pandas.DataFrame,
    images: np.ndarray,
    votes: np.ndarray | None,
    path: Path,
    title: str,
) -> None:
    """Write audit.html whole.

    Args:
        findings: as `audit_findings.find` returns them.
        table: as `audit_findings.examine` returns it.
        images: (n, s, s) uint8.
        votes: (n, 10) int, or None.
        path: HTML file, replaced whole.
        title: heading of the page.
    """

    def card(row: int, text: str) -> dict[str, Any]:
        numbers = [] if votes is None else votes[row].tolist()
        shown = [(number / 10, str(number or "")) for number in numbers]
        return {"png": png(images[row]), "text": text, "votes": shown}

    place = [f"row {row}, {split}" for row, split in enumerate(table["split"])]
    said = ("label " + table["label"]).where(
        table["label"] != "", "dropped, " + table["dropped_because"]
    )
    twins = findings["twins"]
    differ = [row for group in twins.get("votes_differ", ())[:SHOWN] for row in group]
    ambiguous = [found["row"] for found in findings.get("ambiguous", ())]
    write_page(
        path,
        "audit.html",
        title=title,
        subtitle=f"{findings['rows']:,} rows, labelled by {findings['label_rule']}",
        findings={"disagreement": None} | findings,
        class_names=list(findings["splits"]["train"]["classes"]),
        vote_columns=VOTE_COLUMNS,
        shown=SHOWN,
        strips=_strips(findings, table, images),
        largest=[
            card(of["row"], f"{of['rows']} rows, the first is {of['row']}")
            for of in twins["largest"]
        ],
        votes_differ=[card(row, place[row]) for row in differ],
        ambiguous=[card(row, f"{place[row]}: {said[row]}") for row in ambiguous],
    )


def _strips(
    findings: dict[str, Any], table: pandas.DataFrame, images: np.ndarray
) -> list[dict[str, Any]]:
    """Return for each class its mean face and some of its faces, duplicates once."""
    strips = []
    for name in findings["splits"]["train"]["classes"]:
        rows = table[table["label"] == name]
        if len(rows):
            firsts = rows.drop_duplicates("group").index
            drawn = np.random.default_rng(0).choice(firsts, min(SHOWN, len(firsts)), replace=False)
            mean = png(images[rows.index].mean(axis=0).round().astype(np.uint8))
            faces = [(row, png(images[row])) for row in sorted(drawn.tolist())]
            strips.append({"name": name, "rows": len(rows), "mean": mean, "faces": faces})
    return strips
