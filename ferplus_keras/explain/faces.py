"""The faces to explain: pictures from disk, or rows of a data set with their labels."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.data.dataset import Source
from ferplus_keras.data.pictures import SUFFIXES, read_face
from ferplus_keras.errors import InputError


class Faces(NamedTuple):
    """Faces with what is known of them.

    Attributes:
        images: (n, s, s) uint8, 0-255.
        names: n texts: the file's name or "row 12".
        labels: n true classes; None where not known.
    """

    images: np.ndarray
    names: tuple[str, ...]
    labels: tuple[str | None, ...]


def read_pictures(patterns: Sequence[str]) -> tuple[Faces, list[str]]:
    """Read pictures of faces, as own pictures are read for training.

    Args:
        patterns: files, folders (the pictures in them, by name) and glob patterns.

    Returns:
        The faces that could be read, and one line for each thing that could not.

    Raises:
        InputError: none could be read; each reason is in the message.
    """
    images, names, failures = [], [], []
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            paths = sorted(child for child in path.iterdir() if child.suffix.lower() in SUFFIXES)
        else:
            paths = [path] if path.exists() else sorted(map(Path, glob.glob(pattern)))
        if not paths:
            failures.append(f"no picture at {pattern}")
        for path in paths:
            try:
                images.append(read_face(path))
                names.append(path.name)
            except InputError:
                failures.append(f"cannot read {path} as a picture")
    if not images:
        raise InputError("; ".join(failures))
    return Faces(np.stack(images), tuple(names), (None,) * len(images)), failures


def read_rows(rows: Sequence[int], source: Source, rule_name: str) -> Faces:
    """Return rows of a data set, labelled by a rule.

    Args:
        rows: rows counted from 0, as in predictions.csv.
        source: the data set.
        rule_name: the label rule.

    Returns:
        The faces; the label of a row that the rule drops is None.

    Raises:
        InputError: there is no such row.
    """
    images, paths = source.rows.images, source.rows.paths
    for row in rows:
        if not 0 <= row < len(images):
            raise InputError(f"expected rows of 0 to {len(images) - 1}, got {row}")
    rule = source.label_set.rule(rule_name)
    labels = source.label(rule)
    classes = rule.kind.labels(labels.targets)
    return Faces(
        np.stack([images[row] for row in rows]),
        tuple(f"row {row}" if paths is None else str(paths[row]) for row in rows),
        tuple(source.class_names[classes[row]] if labels.keep[row] else None for row in rows),
    )
