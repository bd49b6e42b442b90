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
    """Faces (n, s, s) uint8, what each is called, and its true class where it is known."""

    images: np.ndarray
    names: list[str]
    labels: list[str | None]


def read_pictures(patterns: Sequence[str]) -> tuple[Faces, list[str]]:
    """Read pictures of faces: files, folders (the pictures in them, by name) and glob patterns.

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
        elif path.exists():
            paths = [path]
        else:
            paths = sorted(map(Path, glob.glob(pattern, recursive=True)))
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
    return Faces(np.stack(images), names, [None] * len(images)), failures


def read_rows(rows: Sequence[int], source: Source, rule_name: str) -> Faces:
    """Return rows of a data set, counted from 0 as in predictions.csv, labelled by a rule.

    The label of a row that the rule drops is None.

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
        [f"row {row}" if paths is None else str(paths[row]) for row in rows],
        [source.class_names[classes[row]] if labels.keep[row] else None for row in rows],
    )
