"""The numbers of an audit: what the two files say, row by row and together."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ferplus_keras.audit.twins import find_shared, find_twins
from ferplus_keras.data.duplicates import duplicate_groups
from ferplus_keras.data.fer_csv import Fer2013
from ferplus_keras.data.leaks import leaked_rows
from ferplus_keras.data.votes import LabelRule, Labels
from ferplus_keras.emotions import FER2013_CLASSES, FERPLUS_CLASSES, SPLITS, VOTE_COLUMNS

AMBIGUOUS = 12
"""Faces that are named because their votes are spread the most."""


class Rows(NamedTuple):
    """What is known of every row, in file order.

    Attributes:
        images: (n, 48, 48) uint8.
        splits: (n,) str: train, validation or test.
        fer: (n,) int, FER2013's label, position in `FERPLUS_CLASSES`.
        votes: (n, 10) int.
        labels: of the label rule.
        groups: (n,) int64, first row with the same pixels.
        leaked: (n,) bool, a twin lies across the border between training and judging.
        constant: (n,) bool, all pixels alike.
        entropy: (n,) float, of the votes for emotions, in bits; 0 without votes.
        agreement: (n,) float, share of all votes that the first choice got.
    """

    images: np.ndarray
    splits: np.ndarray
    fer: np.ndarray
    votes: np.ndarray
    labels: Labels
    groups: np.ndarray
    leaked: np.ndarray
    constant: np.ndarray
    entropy: np.ndarray
    agreement: np.ndarray


def examine(fer: Fer2013, votes: np.ndarray, rule: LabelRule) -> Rows:
    """Return what is known of every row.

    Args:
        fer: the rows of fer2013.csv.
        votes: (n, 10) int, of the same rows.
        rule: label rule that the audit goes by.
    """
    groups = duplicate_groups(fer.images)
    names = {value: name for name, value in SPLITS.items()}
    splits = np.array([names[usage] for usage in fer.usage])
    to_ferplus = np.array([FERPLUS_CLASSES.index(name) for name in FER2013_CLASSES])
    flat = fer.images.reshape(len(fer.images), -1)
    shares = _shares(votes[:, : len(FERPLUS_CLASSES)])
    return Rows(
        images=fer.images,
        splits=splits,
        fer=to_ferplus[fer.emotions],
        votes=votes,
        labels=rule.apply(votes),
        groups=groups,
        leaked=leaked_rows(groups, splits == "train"),
        constant=flat.min(axis=1) == flat.max(axis=1),
        entropy=0 - (shares * np.log2(np.maximum(shares, 1e-12))).sum(axis=1),  # never -0.0
        agreement=_shares(votes).max(axis=1),
    )


def find(rows: Rows, label_rule: str) -> dict[str, Any]:
    """Return the numbers of the audit, ready for JSON.

    Returns:
        {"label_rule", "rows", "kept", "distinct_images", "constant_images", "constant_rows",
        "splits": {split: {"rows", "kept", "classes", "fer2013_classes", "mean_votes", "unanimous",
        "mean_agreement", "pair_agreement", "mean_entropy", "leaked"}}, "entropy": {"edges",
        "rows"}, "twins": as `twins.find_twins`, "shared": as `twins.find_shared`, "disagreement":
        {"rows", "share", "table"}, "ambiguous": [{"row", "votes"}]}. The table counts FER2013's
        label (rows) against the rule's (columns), both in the order of FER+.
    """
    kept, label = rows.labels.keep, rows.labels.targets.argmax(axis=1)
    table = np.zeros((len(FERPLUS_CLASSES),) * 2, int)
    np.add.at(table, (rows.fer[kept], label[kept]), 1)
    differ = int(table.sum() - np.trace(table))
    return {
        "label_rule": label_rule,
        "rows": len(rows.splits),
        "kept": int(kept.sum()),
        "distinct_images": len(np.unique(rows.groups)),
        "constant_images": int(rows.constant.sum()),
        "constant_rows": np.flatnonzero(rows.constant).tolist(),
        "splits": {name: _of_split(rows, rows.splits == name, label) for name in SPLITS},
        "entropy": _histogram(rows.entropy),
        "twins": find_twins(rows, label),
        "shared": find_shared(rows),
        "disagreement": {
            "rows": differ,
            "share": differ / max(int(kept.sum()), 1),
            "table": table.tolist(),
        },
        "ambiguous": [
            {"row": int(row), "votes": rows.votes[row].tolist()}
            for row in np.argsort(-rows.entropy, kind="stable")[:AMBIGUOUS]
        ],
    }


def _of_split(rows: Rows, chosen: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    kept = chosen & rows.labels.keep
    votes = rows.votes[chosen]
    return {
        "rows": int(chosen.sum()),
        "kept": int(kept.sum()),
        "classes": _count(label[kept]),
        "fer2013_classes": _count(rows.fer[chosen]),
        "mean_votes": dict(zip(VOTE_COLUMNS, _means(votes), strict=True)),
        "unanimous": _mean(rows.agreement[chosen] == 1),
        "mean_agreement": _mean(rows.agreement[chosen]),
        "pair_agreement": pair_agreement(votes),
        "mean_entropy": _mean(rows.entropy[chosen]),
        "leaked": int(rows.leaked[chosen].sum()),
    }


def _histogram(entropy: np.ndarray) -> dict[str, list]:
    """Count rows by entropy; the last bin holds its upper edge, which is the most there can be."""
    edges = np.arange(0, 3.01, 0.25)
    counts, _ = np.histogram(np.clip(entropy, edges[0], edges[-1]), edges)
    return {"edges": edges.tolist(), "rows": counts.tolist()}


def pair_agreement(votes: np.ndarray) -> float | None:
    """Return the chance that two annotators of one face, drawn at random, voted alike.

    Args:
        votes: (n, 10) int.
    """
    total = votes.sum(axis=1)
    voted = total >= 2
    if not voted.any():
        return None
    same = (votes * (votes - 1)).sum(axis=1)[voted]
    return float((same / (total * (total - 1))[voted]).mean())


def _shares(votes: np.ndarray) -> np.ndarray:
    return votes / np.maximum(votes.sum(axis=1, keepdims=True), 1)


def _count(classes: np.ndarray) -> dict[str, int]:
    counts = np.bincount(classes, minlength=len(FERPLUS_CLASSES)).tolist()
    return dict(zip(FERPLUS_CLASSES, counts, strict=True))


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _means(votes: np.ndarray) -> list[float | None]:
    return votes.mean(axis=0).tolist() if len(votes) else [None] * votes.shape[1]
