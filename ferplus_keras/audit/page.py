"""audit.html: an audit on one page."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.audit.findings import Rows
from ferplus_keras.emotions import FERPLUS_CLASSES, SPLITS, VOTE_COLUMNS
from ferplus_keras.page.bars import bars
from ferplus_keras.page.document import png, write_document
from ferplus_keras.page.markup import (
    Markup,
    bar_cell,
    decimal,
    facts,
    join,
    percent,
    table,
    tag,
)

SHOWN = 12
"""Samples of a class, and rows or groups of a kind."""

APART = "display:grid;gap:12px;grid-template-columns:minmax(0,1fr)"
"""Boxes below each other that do not touch; wide pictures scroll inside theirs."""


def write_page(findings: dict[str, Any], rows: Rows, path: Path, seed: int = 0) -> None:
    """Write audit.html whole.

    Args:
        findings: as `findings.find` returns them.
        rows: as `findings.examine` returns them.
        path: HTML file, replaced whole.
        seed: draws the sample faces.
    """
    label = rows.labels.targets.argmax(axis=1)
    write_document(
        path,
        "FER2013 and FER+",
        f"{findings['rows']:,} rows, labelled by {findings['label_rule']}",
        [
            ("Summary", _summary(findings)),
            ("Classes", _classes(findings)),
            ("Votes", _votes(findings)),
            ("Faces of each class", _faces(rows, label, np.random.default_rng(seed))),
            ("Twins and leaks", _twins(findings, rows)),
            ("FER2013 against FER+", _disagreement(findings)),
            ("Ambiguous faces", _ambiguous(findings, rows, label)),
        ],
    )


def _summary(findings: dict[str, Any]) -> Markup:
    splits = findings["splits"]
    leaks = " / ".join(f"{splits[name]['leaked']:,}" for name in SPLITS)
    kept = " / ".join(f"{splits[name]['kept']:,}" for name in SPLITS)
    disagreement = findings["disagreement"]
    pairs = [
        ("rows", f"{findings['rows']:,}"),
        ("kept by the label rule", f"{findings['kept']:,} ({kept} in {' / '.join(SPLITS)})"),
        ("distinct images", f"{findings['distinct_images']:,}"),
        ("images of one grey level", _blank(findings["constant_rows"])),
        ("leaks", f"{leaks} in {' / '.join(SPLITS)}"),
        (
            "FER2013's label is another",
            f"{disagreement['rows']:,} kept rows ({percent(disagreement['share'])})",
        ),
    ]
    said = (
        "A leak is a face with the pixels of a row on the other side: of a validation or test row "
        "in training, of a training row in validation and test. python train.py --drop_leaks "
        "leaves the training rows among them out; --exclude takes any of the CSV files that lie "
        "beside this page."
    )
    return tag("div", facts(pairs), tag("p", said), class_="panel")


def _blank(numbers: list[int]) -> str:
    if not numbers:
        return "0"
    more = ", …" if len(numbers) > SHOWN else ""
    return f"{len(numbers):,} (rows {', '.join(map(str, numbers[:SHOWN]))}{more})"


def _classes(findings: dict[str, Any]) -> Markup:
    rows = []
    for name in FERPLUS_CLASSES:
        cells = []
        for split in findings["splits"].values():
            for kind, total in (("classes", split["kept"]), ("fer2013_classes", split["rows"])):
                count = split[kind][name]
                cells.append(bar_cell(f"{count:,}", count / max(total, 1)))
        rows.append([name, *cells])
    heads = ["", *(f"{name} {kind}" for name in SPLITS for kind in ("FER+", "FER2013"))]
    found = table(
        "Rows of each class under the label rule, and by FER2013's own labels", heads, rows
    )
    return tag("div", found, class_="panel")


def _votes(findings: dict[str, Any]) -> Markup:
    splits = findings["splits"]
    mean = [
        [name, *(_mean_votes(split["mean_votes"][name]) for split in splits.values())]
        for name in VOTE_COLUMNS
    ]
    agreeing = [
        ["all ten voted alike", *(percent(s["unanimous"]) for s in splits.values())],
        ["share of the first choice", *(percent(s["mean_agreement"]) for s in splits.values())],
        ["two annotators agree", *(percent(s["pair_agreement"]) for s in splits.values())],
        ["mean entropy, bits", *(decimal(s["mean_entropy"], 2) for s in splits.values())],
    ]
    counts = findings["entropy"]["rows"]
    spread = [
        [f"{low:.2f} to {high:.2f}", bar_cell(f"{count:,}", count / max(*counts, 1))]
        for (low, high), count in zip(pairwise(findings["entropy"]["edges"]), counts, strict=True)
    ]
    caption = "Entropy of the votes for emotions, in bits (0: one emotion)"
    return tag(
        "div",
        tag("div", table("Mean votes a face, of ten", ["", *SPLITS], mean), class_="panel"),
        tag("div", table("How far annotators agree", ["", *SPLITS], agreeing), class_="panel"),
        tag("div", table(caption, ["bits", "rows"], spread), class_="panel"),
        class_="panels",
    )


def _mean_votes(number: float | None) -> Markup:
    return bar_cell(decimal(number, 2), (number or 0) / 10)


def _faces(rows: Rows, label: np.ndarray, rng: np.random.Generator) -> Markup:
    shown = []
    for index, name in enumerate(FERPLUS_CLASSES):
        of_class = np.flatnonzero(rows.labels.keep & (label == index))
        if not of_class.size:
            continue
        _, firsts = np.unique(rows.groups[of_class], return_index=True)  # twins once
        drawn = np.sort(rng.choice(of_class[firsts], min(SHOWN, firsts.size), replace=False))
        mean = rows.images[of_class].mean(axis=0).round().astype(np.uint8)
        strip = np.concatenate([mean, *rows.images[drawn]], axis=1)
        said = f"{name}: mean of {of_class.size:,} faces, then {drawn.size} of them"
        picture = tag("img", src=png(strip), alt=said, style=f"width:{strip.shape[1] * 2}px")
        scroll = tag("div", picture, class_="scroll", tabindex=0, role="region", aria_label=said)
        shown.append(tag("figure", scroll, tag("figcaption", said)))
    return tag("div", shown, style=APART)


def _twins(findings: dict[str, Any], rows: Rows) -> Markup:
    twins = findings["twins"]
    pairs = [
        ("groups of identical images", f"{twins['groups']:,}, {twins['rows']:,} rows together"),
        ("groups with the same votes", f"{twins['same_votes']:,}"),
        ("groups with the same label", f"{twins['same_label']:,}"),
    ]
    shared = [
        [" and ".join(pair["splits"]), f"{pair['images']:,}", *(f"{n:,}" for n in pair["rows"])]
        for pair in findings["shared"]
    ]
    heads = ["", "images", "rows of the first", "rows of the second"]
    common = table("Images that two splits have in common", heads, shared)
    largest = [
        _card(rows.images[group["row"]], f"{group['rows']} rows, the first is {group['row']}")
        for group in twins["largest"]
    ]
    differ = [
        _card(rows.images[row], f"row {row}, {rows.splits[row]}", _vote_bars(rows.votes[row], row))
        for group in twins["votes_differ"][:SHOWN]
        for row in group
    ]
    return tag(
        "div",
        tag("div", facts(pairs), class_="panel"),
        tag("div", common, class_="panel", style="margin:0"),
        _cards("The largest groups", largest),
        _cards("Same pixels, different votes", differ),
        style=APART,
    )


def _cards(heading: str, cards: list[Markup]) -> Markup:
    return join([tag("h3", heading), tag("div", cards, class_="cards")] if cards else [])


def _disagreement(findings: dict[str, Any]) -> Markup:
    counts = np.array(findings["disagreement"]["table"])
    totals = counts.sum(axis=1)
    rows = [
        [name, *(bar_cell(f"{n:,}" if n else "", n / max(totals[i], 1)) for n in counts[i])]
        for i, name in enumerate(FERPLUS_CLASSES)
        if totals[i]
    ]
    caption = "Kept rows: FER2013's label (lines) and the label rule's (columns)"
    return tag("div", table(caption, ["", *FERPLUS_CLASSES], rows), class_="panel")


def _ambiguous(findings: dict[str, Any], rows: Rows, label: np.ndarray) -> Markup:
    cards = []
    for found in findings["ambiguous"]:
        row = found["row"]
        said = f"row {row}, {rows.splits[row]}: " + (
            f"label {FERPLUS_CLASSES[label[row]]}"
            if rows.labels.keep[row]
            else f"dropped, {rows.labels.reasons[row]}"
        )
        cards.append(_card(rows.images[row], said, _vote_bars(rows.votes[row], row)))
    return tag("div", cards, class_="cards")


def _vote_bars(votes: np.ndarray, row: int) -> Markup:
    texts = [str(number or "") for number in votes]
    return bars(VOTE_COLUMNS, [("votes", votes / 10, texts)], f"Votes of row {row}")


def _card(image: np.ndarray, said: str, beside: Markup | str = "") -> Markup:
    return tag(
        "figure",
        tag("img", src=png(image), width=96, height=96, alt=f"Face: {said}"),
        beside,
        tag("figcaption", said),
    )
