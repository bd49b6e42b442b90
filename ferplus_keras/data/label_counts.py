"""Count what label rules keep, drop and why, and show it as a table."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ferplus_keras.data.labels import Labels
from ferplus_keras.emotions import SPLITS


def count_labels(
    row_splits: np.ndarray, labels: Mapping[str, Labels], class_names: Sequence[str]
) -> dict:
    """Count the rows of every split and of all together.

    Args:
        row_splits: (n,) str, name of every row's split.
        labels: split name to the labels, of all n rows, that it goes by.
        class_names: the C classes.

    Returns:
        "classes", "splits" and "total", as `dataset.label_counts` describes them.
    """
    splits, dropped, sums = {}, Counter(), np.zeros(len(class_names))
    for name in SPLITS:
        rows = row_splits == name
        reasons = Counter(labels[name].reasons[rows & ~labels[name].keep].tolist())
        targets = labels[name].targets[rows].sum(axis=0, dtype=np.float64)
        splits[name] = _counts(np.count_nonzero(rows), reasons, targets, class_names)
        dropped += reasons
        sums += targets
    return {
        "classes": list(class_names),
        "splits": splits,
        "total": _counts(len(row_splits), dropped, sums, class_names),
    }


def format_label_counts(counts: dict) -> str:
    """Return the counts of `dataset.label_counts` as an aligned table, a column per split."""
    columns = counts["splits"] | {"total": counts["total"]}
    heading = f"{counts['dataset_name']}, labelled by {counts['label_rule']}"
    if counts["evaluation_rule"] != counts["label_rule"]:
        heading += f" (validation and test by {counts['evaluation_rule']})"
    lines = [["", *columns]]
    for key in ("rows", "kept", "dropped"):
        lines.append([key, *(_number(column[key]) for column in columns.values())])
    for reason in counts["total"]["reasons"]:
        cells = (_number(column["reasons"].get(reason, 0)) for column in columns.values())
        lines.append([f"  {reason}", *cells])
    for name in counts["classes"]:
        lines.append([name, *(_number(column["per_class"][name]) for column in columns.values())])
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    rows = (
        f"{label:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        for label, *cells in lines
    )
    return "\n".join([heading, *rows])


def _counts(rows: int, reasons: Counter, targets: np.ndarray, class_names: Sequence[str]) -> dict:
    return {
        "rows": int(rows),
        "kept": int(rows) - reasons.total(),
        "dropped": reasons.total(),
        "reasons": dict(reasons.most_common()),
        "per_class": dict(zip(class_names, map(_plain, targets.tolist()), strict=True)),
    }


def _plain(rows: float) -> int | float:
    """Return a sum of targets as a whole number where it is one."""
    return int(rows) if rows.is_integer() else round(rows, 3)


def _number(value: int | float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
