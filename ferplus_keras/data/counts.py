"""What label rules make of a data set: counted, as a table, and written row by row."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.data.dataset import DATASETS, Source, open_source
from ferplus_keras.data.fer2013 import Fer2013Missing
from ferplus_keras.data.ferplus import ferplus_votes
from ferplus_keras.data.targets import find_class_map
from ferplus_keras.emotions import SPLITS
from ferplus_keras.files import replacing


def label_counts(
    data_dir: str | Path,
    dataset_name: str = "FERPlus",
    label_rule: str = "majority",
    cache_dir: str | Path | None = None,
    class_map: Sequence[str] | None = None,
    **reading: Any,
) -> dict:
    """Count what a label rule keeps of each split, and why it drops the rest.

    Arguments and errors are those of `load_split`, but an empty split is counted. For FERPlus
    fer2013new.csv is enough; where fer2013.csv is there too, they are checked against each other.

    Returns:
        Plain numbers and texts, ready for JSON: {"dataset_name", "label_rule", "evaluation_rule",
        "classes": [name, …], "splits": {split: counts, …}, "total": counts}, each counts being
        {"rows", "kept", "dropped", "reasons": {reason: rows}, "per_class": {name: rows}}. Under a
        rule with soft targets, the rows of a class are the sum of its targets.
    """
    rule = DATASETS[dataset_name].rule(label_rule)
    source = _open_labels(data_dir, dataset_name, cache_dir, class_map, **reading)
    return source.counts(rule, rule, source.label(rule))


def _open_labels(
    data_dir: str | Path,
    dataset_name: str,
    cache_dir: str | Path | None,
    class_map: Sequence[str] | None,
    **reading: Any,
) -> Source:
    """Read the files of a data set, of FERPlus the votes alone where there are no faces."""
    label_set = DATASETS[dataset_name]
    try:
        return open_source(data_dir, dataset_name, cache_dir, class_map=class_map, **reading)
    except Fer2013Missing:
        if not label_set.uses_votes:
            raise
        classes = find_class_map(class_map, label_set.class_names)
        return Source(label_set, ferplus_votes(data_dir), classes)


def write_labels(
    path: Path,
    data_dir: str | Path,
    dataset_name: str = "FERPlus",
    label_rule: str = "majority",
    cache_dir: str | Path | None = None,
    class_map: Sequence[str] | None = None,
    **reading: Any,
) -> int:
    """Write the rows that a label rule keeps, so that any program can train on exactly these.

    A CSV file with a line per row: split, row (of fer2013.csv, from 0, or place in the sorted list
    of own pictures), image (its name in fer2013new.csv, or path), label (the first one of equal
    targets) and the target of each class. Arguments and errors are those of `label_counts`.

    Returns:
        The number of rows.
    """
    rule = DATASETS[dataset_name].rule(label_rule)
    source = _open_labels(data_dir, dataset_name, cache_dir, class_map, **reading)
    labels, given = source.label(rule), source.rows
    images = given.names if given.paths is None else given.paths
    best = rule.kind.labels(labels.targets)
    kept = [row for name in SPLITS for row in np.flatnonzero(labels.keep & (given.splits == name))]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["split", "row", "image", "label", *source.class_names])
        for row in kept:
            image, label = "" if images is None else images[row], source.class_names[best[row]]
            targets = (f"{target:.9g}" for target in labels.targets[row])
            writer.writerow([given.splits[row], row, image, label, *targets])
    return len(kept)


def format_label_counts(counts: dict) -> str:
    """Return the counts of `label_counts` as an aligned table, a column per split."""
    heading = f"{counts['dataset_name']}, labelled by {counts['label_rule']}"
    if counts["evaluation_rule"] != counts["label_rule"]:
        heading += f" (validation and test by {counts['evaluation_rule']})"
    reasons = counts["total"]["reasons"]
    table = [["", "rows", "kept", "dropped", *(f"  {r}" for r in reasons), *counts["classes"]]]
    for name, part in (counts["splits"] | {"total": counts["total"]}).items():
        numbers = [part["rows"], part["kept"], part["dropped"]]
        numbers += [part["reasons"].get(reason, 0) for reason in reasons]
        numbers += part["per_class"].values()
        table.append([name, *(f"{n:,}" if isinstance(n, int) else f"{n:,.1f}" for n in numbers)])
    aligned = (
        [f"{cell:{'>' if place else '<'}{max(map(len, column))}}" for cell in column]
        for place, column in enumerate(table)
    )
    return "\n".join([heading, *map("  ".join, zip(*aligned, strict=True))])
