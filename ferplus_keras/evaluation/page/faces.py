"""Faces of a page: where the model is surely wrong, and where the people disagree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ferplus_keras.page.bars import bars
from ferplus_keras.page.document import png
from ferplus_keras.page.markup import Markup, percent, tag

if TYPE_CHECKING:
    from ferplus_keras.evaluation.scores import Evaluation

SHOWN = 12
"""Faces of each kind and split."""

CLASSES_SHOWN = 10
"""Bars beside a face: the classes with the largest shares where there are more."""


def confident_errors(judged: Evaluation) -> np.ndarray:
    """Return the rows, (m,) int, with the surest wrong answers, the surest first."""
    wrong = judged.probabilities.argmax(axis=1) != judged.labels
    rows = np.flatnonzero(wrong)
    confidence = judged.probabilities[rows].max(axis=1)
    return rows[np.argsort(-confidence, kind="stable")][:SHOWN]


def ambiguous(judged: Evaluation) -> np.ndarray:
    """Return the rows, (m,) int, whose votes have the largest entropy, the largest first."""
    votes = judged.votes
    shares = votes / np.maximum(votes.sum(axis=1, keepdims=True), 1)
    entropy = -(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=1)
    rows = np.argsort(-entropy, kind="stable")[:SHOWN]
    return rows[entropy[rows] > 0]


def face_cards(judged: Evaluation, rows: np.ndarray) -> Markup:
    """Return a card for each of these rows: face, votes, probabilities, label, prediction."""
    labels = judged.labels
    return tag("div", [_card(judged, row, labels[row]) for row in rows], class_="cards")


def _card(judged: Evaluation, row: int, label: int) -> Markup:
    split, scores = judged.split, judged.probabilities[row]
    names = split.class_names
    predicted = int(scores.argmax())
    title = (
        f"row\N{NO-BREAK SPACE}{split.row_ids[row]}"
        if split.paths is None
        else str(split.paths[row])
    )
    said = f"label {names[label]}, predicted {names[predicted]} ({percent(float(scores.max()), 0)})"
    leaked = split.leaked is not None and split.leaked[row]
    return tag(
        "figure",
        tag(
            "img",
            src=png(split.images[row]),
            width=96,
            height=96,
            alt=f"Face of {title}: {said}",
        ),
        _answers(judged, row, title),
        tag(
            "figcaption",
            tag("b", names[label]),
            [" taken for ", tag("b", names[predicted]), ","] if predicted != label else " found,",
            f" {percent(float(scores.max()), 0)} ",
            tag("span", f"·\N{NO-BREAK SPACE}{title} ", class_="quiet"),
            tag("span", "twin in training", class_="badge") if leaked else "",
        ),
    )


def _answers(judged: Evaluation, row: int, title: str) -> Markup:
    """Return the bars of one face: votes where there are any, and probabilities."""
    scores = judged.probabilities[row]
    columns = [("model", scores, [percent(float(s), 0) if s >= 0.005 else "" for s in scores])]
    rank = scores
    if judged.votes is not None:
        votes = judged.votes[row]
        shares = votes / max(votes.sum(), 1)
        columns.insert(0, ("votes", shares, [str(number or "") for number in votes]))
        rank = np.maximum(scores, shares)
    shown = np.sort(np.argsort(-rank, kind="stable")[:CLASSES_SHOWN])
    names = [judged.split.class_names[index] for index in shown]
    columns = [(head, bar[shown], [texts[i] for i in shown]) for head, bar, texts in columns]
    spoken = "; ".join(
        f"{head}: " + ", ".join(f"{name} {t}" for name, t in zip(names, texts, strict=True) if t)
        for head, _, texts in columns
    )
    return bars(names, columns, f"{title}, {spoken}")
