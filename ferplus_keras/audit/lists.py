"""CSV files of an audit: every row, and those that somebody may want to leave out."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from ferplus_keras.audit.findings import Rows
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.files import replacing

HEADER = (
    "row",
    "split",
    "fer2013_label",
    "label",
    "dropped_because",
    "agreement",
    "entropy",
    "same_as_row",
    "leaked",
    "constant",
)


def write_lists(rows: Rows, folder: Path) -> list[Path]:
    """Write rows.csv (every row) and, with the same columns, what may be left out of training.

    Each has the column `row` (of fer2013.csv, from 0) that `--exclude` reads: leaks.csv (training
    rows with a twin in validation or test), disagreements.csv (kept training rows that FER2013
    labels otherwise) and constant.csv (images of one grey level).

    Returns:
        The files.
    """
    training = rows.splits == "train"
    label = rows.labels.targets.argmax(axis=1)
    chosen = {
        "rows.csv": np.ones(len(training), bool),
        "leaks.csv": training & rows.leaked,
        "disagreements.csv": training & rows.labels.keep & (label != rows.fer),
        "constant.csv": rows.constant,
    }
    for name, wanted in chosen.items():
        with replacing(folder / name) as path, path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(HEADER)
            writer.writerows(_line(rows, label, row) for row in np.flatnonzero(wanted))
    return [folder / name for name in chosen]


def _line(rows: Rows, label: np.ndarray, row: int) -> list:
    twin = rows.groups[row]
    return [
        row,
        rows.splits[row],
        FERPLUS_CLASSES[rows.fer[row]],
        FERPLUS_CLASSES[label[row]] if rows.labels.keep[row] else "",
        rows.labels.reasons[row],
        f"{rows.agreement[row]:.3f}",
        f"{rows.entropy[row]:.3f}",
        "" if twin == row else twin,
        int(rows.leaked[row]),
        int(rows.constant[row]),
    ]
