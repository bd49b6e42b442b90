"""Rows with the same pixels: how many, whether they agree, and between which splits."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from ferplus_keras.emotions import SPLITS

if TYPE_CHECKING:
    from ferplus_keras.audit.findings import Rows

LARGEST = 12
"""Groups that are named."""


def find_twins(rows: Rows, label: np.ndarray) -> dict[str, Any]:
    """Count the groups of identical images; blank ones are no twins.

    Args:
        rows: as `findings.examine` returns them.
        label: (n,) int, class under the label rule; dropped rows count as one more class.

    Returns:
        {"groups", "rows", "same_votes", "same_label", "largest": [{"row": the first, "rows": how
        many}], "votes_differ": [rows of each group whose votes differ]}.
    """
    order = np.argsort(rows.groups, kind="stable")
    starts = np.flatnonzero(np.diff(rows.groups[order], prepend=-1))
    groups = [
        group
        for group in np.split(order, starts[1:])
        if len(group) > 1 and not rows.constant[group[0]]
    ]
    named = np.where(rows.labels.keep, label, -1)
    differ = [group for group in groups if (rows.votes[group] != rows.votes[group[0]]).any()]
    largest = sorted(groups, key=len, reverse=True)[:LARGEST]
    return {
        "groups": len(groups),
        "rows": sum(map(len, groups)),
        "same_votes": len(groups) - len(differ),
        "same_label": sum(len(set(named[group])) == 1 for group in groups),
        "largest": [{"row": int(group[0]), "rows": len(group)} for group in largest],
        "votes_differ": [group.tolist() for group in differ],
    }


def find_shared(rows: Rows) -> list[dict[str, Any]]:
    """Count what two splits have in common, for each pair of them; blank images count, too.

    Returns:
        [{"splits": (a, b), "images": distinct ones, "rows": (of a with a twin in b, of b with a
        twin in a)}].
    """
    held = {
        name: np.bincount(rows.groups[rows.splits == name], minlength=len(rows.groups))
        for name in SPLITS
    }
    found = []
    for pair in combinations(SPLITS, 2):
        first, second = (held[name] for name in pair)
        common = (first > 0) & (second > 0)
        inside = (int(first[common].sum()), int(second[common].sum()))
        found.append({"splits": pair, "images": int(common.sum()), "rows": inside})
    return found
