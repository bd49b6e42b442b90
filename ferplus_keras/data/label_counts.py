"""Count what label rules keep, drop and why, and show it as a table."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ferplus_keras.data.labels import Labels
from ferplus_keras.emotions import SPLITS


def count_labels(
    row_splits: np.ndarray, labels: Mapping[str, Labels], class_names: Sequence[str]
) -> dict:
    """Count the rows of every split and of all together, as `dataset.label_counts` returns them.

    Args:
        row_splits: (n,) str, name of every row's split.
        labels: split name to the labels, of all n rows, that it goes by.
        class_names: the C classes.
    """

    def counts(rows: int, reasons: Counter, targets: np.ndarray) -> dict:
        plain = (int(n) if n.is_integer() else round(n, 3) for n in targets.tolist())
        return {
            "rows": int(rows),
            "kept": int(rows) - reasons.total(),
            "dropped": reasons.total(),
            "reasons": dict(reasons.most_common()),
            "per_class": dict(zip(class_names, plain, strict=True)),
        }

    splits, dropped, sums = {}, Counter(), np.zeros(len(class_names))
    for name in SPLITS:
        rows = row_splits == name
        reasons = Counter(labels[name].reasons[rows & ~labels[name].keep].tolist())
        targets = labels[name].targets[rows].sum(axis=0, dtype=np.float64)
        splits[name] = counts(np.count_nonzero(rows), reasons, targets)
        dropped += reasons
        sums += targets
    total = counts(len(row_splits), dropped, sums)
    return {"classes": list(class_names), "splits": splits, "total": total}


def format_label_counts(counts: dict) -> str:
    """Return the counts of `dataset.label_counts` as an aligned table, a column per split."""
    columns = counts["splits"] | {"total": counts["total"]}
    heading = f"{counts['dataset_name']}, labelled by {counts['label_rule']}"
    if counts["evaluation_rule"] != counts["label_rule"]:
        heading += f" (validation and test by {counts['evaluation_rule']})"
    table = [[key, *(c[key] for c in columns.values())] for key in ("rows", "kept", "dropped")]
    for reason in counts["total"]["reasons"]:
        table.append([f"  {reason}", *(c["reasons"].get(reason, 0) for c in columns.values())])
    for name in counts["classes"]:
        table.append([name, *(c["per_class"][name] for c in columns.values())])
    lines = [["", *columns]] + [
        [name, *(f"{n:,}" if isinstance(n, int) else f"{n:,.1f}" for n in numbers)]
        for name, *numbers in table
    ]
    first, *widths = (max(map(len, cells)) for cells in zip(*lines, strict=True))
    rows = (
        "  ".join([f"{name:<{first}}", *map(str.rjust, cells, widths)]) for name, *cells in lines
    )
    return "\n".join([heading, *rows])
