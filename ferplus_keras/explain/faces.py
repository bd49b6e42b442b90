"""The faces to explain: pictures from disk, or rows of fer2013.csv with their labels."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.data.dataset import load_split
from ferplus_keras.data.face_image import SUFFIXES, read_face
from ferplus_keras.data.fer_csv import read_fer2013
from ferplus_keras.emotions import SPLITS
from ferplus_keras.errors import InputError
from ferplus_keras.models.checkpoint import CheckpointInfo


class Faces(NamedTuple):
    """Faces with what is known of them.

    Attributes:
        images: (n, 48, 48) uint8 grey levels, 0-255.
        names: n texts, the file's name or "row 12".
        labels: n true classes; None where not known.
    """

    images: np.ndarray
    names: tuple[str, ...]
    labels: tuple[str | None, ...]


def read_pictures(patterns: Sequence[str]) -> tuple[Faces, list[str]]:
    """Read pictures of faces, as own pictures are read to train on.

    Args:
        patterns: files, folders (the pictures in them, by name) and glob patterns.

    Returns:
        The faces that could be read, and one line for each thing that could not.

    Raises:
        InputError: none could be read; each reason is in the message.
    """
    images, names, failures = [], [], []
    for pattern in patterns:
        paths = _paths(pattern)
        if not paths:
            failures.append(f"no picture at {pattern}")
        for path in paths:
            picture = _read(path)
            if picture is None:
                failures.append(f"cannot read {path} as a picture")
            else:
                images.append(picture)
                names.append(path.name)
    if not images:
        raise InputError("; ".join(failures))
    return Faces(np.stack(images), tuple(names), (None,) * len(images)), failures


def _paths(pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.is_dir():
        return sorted(child for child in path.iterdir() if child.suffix.lower() in SUFFIXES)
    if path.exists():
        return [path]
    return sorted(map(Path, glob.glob(pattern, recursive=True)))


def _read(path: Path) -> np.ndarray | None:
    try:
        return read_face(path)
    except InputError:
        return None


def read_rows(rows: Sequence[int], data_dir: str, info: CheckpointInfo) -> Faces:
    """Return rows of fer2013.csv, labelled by the rule that a checkpoint was chosen by.

    Args:
        rows: rows counted from 0, as in predictions.csv.
        data_dir: folder of fer2013.csv and, for FER+, fer2013new.csv.
        info: what the checkpoint says of its classes and rules.

    Returns:
        The faces; the label of a row that the rule drops is None.

    Raises:
        InputError: there is no such row, or the files cannot be used.
    """
    images = read_fer2013(data_dir).images
    for row in rows:
        if not 0 <= row < len(images):
            raise InputError(f"expected rows of 0 to {len(images) - 1}, got {row}")
    labels: dict[int, str] = {}
    for name in SPLITS:
        split = read_split(name, data_dir, info)
        for row in np.intersect1d(split.row_ids, rows):
            index = np.searchsorted(split.row_ids, row)
            labels[row] = split.class_names[split.targets[index].argmax()]
    return Faces(
        np.stack([images[row] for row in rows]),
        tuple(f"row {row}" for row in rows),
        tuple(labels.get(row) for row in rows),
    )


def read_split(name: str, data_dir: str, info: CheckpointInfo):
    """Return a `Split` labelled as the validation rows that chose the checkpoint.

    Raises:
        InputError: the data cannot be used, or its classes are not the checkpoint's.
    """
    split = load_split(
        data_dir, name, info.dataset_name, info.evaluation_rule, class_map=info.class_map
    )
    if sorted(split.class_names) != sorted(info.class_names):
        raise InputError(
            f"the checkpoint has the classes {', '.join(info.class_names)}, "
            f"the data {', '.join(split.class_names)}"
        )
    return split
