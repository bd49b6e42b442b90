"""The numbers of an audit: labels, votes, duplicates and leaks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from ferplus_keras.data.duplicates import duplicate_groups
from ferplus_keras.data.labels import Labels
from ferplus_keras.data.leaks import leaked_rows
from ferplus_keras.emotions import SPLITS, VOTE_COLUMNS

NAMED = 12
"""Most ambiguous faces, and largest groups of duplicates, that are named."""


@dataclass(frozen=True, eq=False)
class Rows:
    """What is known of every row, in file order.

    Attributes:
        images: (n, s, s) uint8.
        splits: (n,) str: train, validation or test.
        labels: of the label rule.
        class_names: the C classes.
        votes: (n, 10) int; None where nobody voted, and then there is no entropy and agreement.
        fer: (n,) int, FER2013's label, position in `class_names`; None without votes.
    """

    images: np.ndarray
    splits: np.ndarray
    labels: Labels
    class_names: tuple[str, ...]
    votes: np.ndarray | None = None
    fer: np.ndarray | None = None

    @cached_property
    def label(self) -> np.ndarray:
        """Class under the label rule, (n,) int; of a dropped row 0."""
        return self.labels.targets.argmax(axis=1)

    @cached_property
    def groups(self) -> np.ndarray:
        """First row with the same pixels, (n,) int64."""
        return duplicate_groups(self.images)

    @cached_property
    def leaked(self) -> np.ndarray:
        """Whether a duplicate lies on the other side of training, (n,) bool."""
        return leaked_rows(self.groups, self.splits == "train")

    @cached_property
    def constant(self) -> np.ndarray:
        """Whether all pixels are alike, (n,) bool."""
        return np.ptp(self.images, axis=(1, 2)) == 0

    @cached_property
    def entropy(self) -> np.ndarray:
        """Entropy of the votes for emotions, (n,) float, in bits; 0 without such votes."""
        shares = _shares(self.votes[:, : VOTE_COLUMNS.index("unknown")])
        return 0 - (shares * np.log2(np.maximum(shares, 1e-12))).sum(axis=1)  # never -0.0

    @cached_property
    def agreement(self) -> np.ndarray:
        """Share of all votes that the first choice got, (n,) float."""
        return _shares(self.votes).max(axis=1)


def find(rows: Rows, label_rule: str) -> dict[str, Any]:
    """Return the numbers of the audit, ready for JSON.

    Returns:
        {"label_rule", "rows", "kept", "distinct_images", "constant_images", "constant_rows",
        "splits": {split: {"rows", "kept", "classes", "leaked"}}, "twins": as `find_duplicates`,
        "shared": as `find_shared`}. Where there are votes, also {"entropy": {"edges", "rows"},
        "disagreement": {"rows", "share", "table"}, "ambiguous": [{"row", "votes"}]} and for each
        split {"fer2013_classes", "mean_votes", "unanimous", "mean_agreement", "pair_agreement",
        "mean_entropy"}. The table counts FER2013's label (rows) against the rule's (columns), both
        in the order of the classes.
    """
    kept = rows.labels.keep
    found = {
        "label_rule": label_rule,
        "rows": len(rows.splits),
        "kept": int(kept.sum()),
        "distinct_images": len(np.unique(rows.groups)),
        "constant_images": int(rows.constant.sum()),
        "constant_rows": np.flatnonzero(rows.constant).tolist(),
        "splits": {name: _of_split(rows, rows.splits == name) for name in SPLITS},
        "twins": find_duplicates(rows),
        "shared": find_shared(rows),
    }
    if rows.votes is None:
        return found
    table = np.zeros((len(rows.class_names),) * 2, int)
    np.add.at(table, (rows.fer[kept], rows.label[kept]), 1)
    differ = int(table.sum() - np.trace(table))
    edges = np.arange(0, 3.01, 0.25)  # the last bin holds its upper edge, the most there can be
    counts, _ = np.histogram(np.clip(rows.entropy, edges[0], edges[-1]), edges)
    return found | {
        "entropy": {"edges": edges.tolist(), "rows": counts.tolist()},
        "disagreement": {
            "rows": differ,
            "share": differ / max(found["kept"], 1),
            "table": table.tolist(),
        },
        "ambiguous": [
            {"row": int(row), "votes": rows.votes[row].tolist()}
            for row in np.argsort(-rows.entropy, kind="stable")[:NAMED]
        ],
    }


def _of_split(rows: Rows, chosen: np.ndarray) -> dict[str, Any]:
    def count(classes: np.ndarray) -> dict[str, int]:
        counts = np.bincount(classes, minlength=len(rows.class_names)).tolist()
        return dict(zip(rows.class_names, counts, strict=True))

    def mean(values: np.ndarray) -> float | None:
        return float(values.mean()) if len(values) else None

    kept = chosen & rows.labels.keep
    found = {
        "rows": int(chosen.sum()),
        "kept": int(kept.sum()),
        "classes": count(rows.label[kept]),
        "leaked": int(rows.leaked[chosen].sum()),
    }
    if rows.votes is None:
        return found
    votes = rows.votes[chosen]
    return found | {
        "fer2013_classes": count(rows.fer[chosen]),
        "mean_votes": {name: mean(votes[:, at]) for at, name in enumerate(VOTE_COLUMNS)},
        "unanimous": mean(rows.agreement[chosen] == 1),
        "mean_agreement": mean(rows.agreement[chosen]),
        "pair_agreement": pair_agreement(votes),
        "mean_entropy": mean(rows.entropy[chosen]),
    }


def pair_agreement(votes: np.ndarray) -> float | None:
    """Return the chance that two annotators of one face, drawn at random, voted alike.

    Args:
        votes: (n, 10) int.
    """
    votes = votes[votes.sum(axis=1) >= 2]
    total = votes.sum(axis=1)
    same = (votes * (votes - 1)).sum(axis=1)
    return float((same / (total * (total - 1))).mean()) if len(votes) else None


def find_duplicates(rows: Rows) -> dict[str, Any]:
    """Count the groups of identical images; images of one grey level are none.

    Returns:
        {"groups", "rows", "same_label" (dropped rows count as one more class), "largest": [{"row":
        the first, "rows": how many}]} and, where there are votes, {"same_votes", "votes_differ":
        [rows of each group whose votes differ]}.
    """
    order = np.argsort(rows.groups, kind="stable")
    starts = np.flatnonzero(np.diff(rows.groups[order]))
    groups = [
        group
        for group in np.split(order, starts + 1)
        if len(group) > 1 and not rows.constant[group[0]]
    ]
    label = np.where(rows.labels.keep, rows.label, -1)
    largest = sorted(groups, key=len, reverse=True)[:NAMED]
    found = {
        "groups": len(groups),
        "rows": sum(map(len, groups)),
        "same_label": sum(len(set(label[group])) == 1 for group in groups),
        "largest": [{"row": int(group[0]), "rows": len(group)} for group in largest],
    }
    if rows.votes is not None:
        differ = [group for group in groups if (rows.votes[group] != rows.votes[group[0]]).any()]
        found["same_votes"] = len(groups) - len(differ)
        found["votes_differ"] = [group.tolist() for group in differ]
    return found


def find_shared(rows: Rows) -> list[dict[str, Any]]:
    """Count what each pair of splits has in common, images of one grey level included.

    Returns:
        [{"splits": (a, b), "images": distinct ones, "rows": (of a with a duplicate in b, of b with
        a duplicate in a)}].
    """
    found = []
    for pair in combinations(SPLITS, 2):
        first, second = (rows.groups[rows.splits == name] for name in pair)
        inside = (int(np.isin(first, second).sum()), int(np.isin(second, first).sum()))
        images = len(np.intersect1d(first, second))
        found.append({"splits": pair, "images": images, "rows": inside})
    return found


def _shares(votes: np.ndarray) -> np.ndarray:
    return votes / np.maximum(votes.sum(axis=1, keepdims=True), 1)
