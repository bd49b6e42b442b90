"""What a label rule keeps of a data set: counts, a table of them, and the rows as CSV."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.data.dataset import DATASETS, Source, open_source
from ferplus_keras.data.fer2013 import Fer2013Missing
from ferplus_keras.data.ferplus import ferplus_votes
from ferplus_keras.data.targets import Labels, find_class_map
from ferplus_keras.emotions import FACE_SIZE, SPLITS
from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing
from ferplus_keras.inputs import cell
from ferplus_keras.progress import aligned


def label_counts(
    data_dir: str | Path,
    dataset_name: str = "FERPlus",
    label_rule: str = "majority",
    cache_dir: str | Path | None = None,
    class_map: Sequence[str] | None = None,
    output: Path | None = None,
    **reading: Any,
) -> dict:
    """Count what a label rule keeps of each split, and why it drops the rest.

    Arguments and errors are those of `load_split`, but an empty split is counted. For FERPlus
    fer2013new.csv is enough; where fer2013.csv is there too, they are checked against each other.
    `output` is a CSV file to write with the rows that are kept, as `write_labels` does.

    Returns:
        Plain numbers and texts, ready for JSON: {"dataset_name", "label_rule", "evaluation_rule",
        "classes": [name, …], "splits": {split: counts, …}, "total": counts}, each counts being
        {"rows", "kept", "dropped", "reasons": {reason: rows}, "per_class": {name: rows}}. Under a
        rule with soft targets, the rows of a class are the sum of its targets.
    """
    label_set = DATASETS[dataset_name]
    rule = label_set.rule(label_rule)
    if label_set.own_pictures:  # only counted
        reading = {"face_size": FACE_SIZE, "colour": False} | reading
    try:
        source = open_source(data_dir, dataset_name, cache_dir, class_map=class_map, **reading)
    except Fer2013Missing:
        if not label_set.uses_votes:
            raise
        classes = find_class_map(class_map, label_set.class_names)
        source = Source(label_set, ferplus_votes(data_dir), classes)
    labels = source.label(rule)
    if output:
        write_labels(output, source, labels, rule.kind.labels(labels.targets, source.votes()))
    return source.counts(rule, rule, labels)


def write_labels(path: Path, source: Source, labels: Labels, best: np.ndarray) -> None:
    """Write the rows that are kept, so that any program can train on exactly these.

    What `path` holds already is replaced if it was written here, else refused by InputError.

    A CSV file with a line per row: split, row (of fer2013.csv, from 0, or place in the sorted list
    of own pictures), image (its name in fer2013new.csv, or path), label (of the class `best`, (n,)
    int) and the target of each class. Names that are not UTF-8 keep their bytes.
    """
    names, given = source.class_names, source.rows
    images = given.names if given.paths is None else given.paths
    encoding = {"encoding": "utf-8", "errors": "surrogateescape"}
    header = ["split", "row", "image", "label"]
    if path.is_file():
        with path.open("rb") as there:
            begin = there.readline(1000)
        if begin and not begin.startswith(f"{','.join(header)},".encode()):
            raise InputError(f"{path} would be replaced: choose another --output")
    with replacing(path) as temporary, temporary.open("w", newline="", **encoding) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*header, *names])
        for split in SPLITS:
            for row in np.flatnonzero(labels.keep & (given.splits == split)):
                image = "" if images is None else cell(images[row])
                targets = (f"{target:.9g}" for target in labels.targets[row])
                writer.writerow([split, row, image, names[best[row]], *targets])


def format_label_counts(counts: dict) -> str:
    """Return the counts of `label_counts` as an aligned table, a column per split."""
    heading = f"{counts['dataset_name']}, labelled by {counts['label_rule']}"
    if counts["evaluation_rule"] != counts["label_rule"]:
        heading += f" (validation and test by {counts['evaluation_rule']})"
    reasons = counts["total"]["reasons"]
    columns = [["", "rows", "kept", "dropped", *(f"  {r}" for r in reasons), *counts["classes"]]]
    for name, part in (counts["splits"] | {"total": counts["total"]}).items():
        numbers = [part["rows"], part["kept"], part["dropped"]]
        numbers += [part["reasons"].get(reason, 0) for reason in reasons]
        numbers += part["per_class"].values()
        columns.append([name, *(f"{n:,}" if isinstance(n, int) else f"{n:,.1f}" for n in numbers)])
    table = aligned([*zip(*columns, strict=True)], right=range(1, len(columns)))
    return f"{heading}\n{table}"
