"""What the files of a data set hold, row by row, before any label rule."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.data.fer_csv import Fer2013, read_fer2013
from ferplus_keras.data.folder import read_folder
from ferplus_keras.data.votes_csv import Votes, read_votes
from ferplus_keras.emotions import FER2013_CLASSES, FERPLUS_CLASSES, SPLITS
from ferplus_keras.errors import InputError


class FileRows(NamedTuple):
    """The rows of a data set.

    Attributes:
        opinions: what label rules apply to: FER+ votes (n, 10) int; where every row has one label,
            that label one-hot, (n, C) float32.
        splits: (n,) str: train, validation or test.
        images: (n, 48, 48) uint8; None where only the votes were read.
        class_names: the classes that label rules tell apart, in the order of their targets.
        hashes: file name to SHA-256 of every file read.
        paths: (n,) str, the file of each row; None where the rows are those of one file.
    """

    opinions: np.ndarray
    splits: np.ndarray
    images: np.ndarray | None
    class_names: tuple[str, ...]
    hashes: dict[str, str]
    paths: np.ndarray | None = None


def ferplus(data_dir: str | Path, cache_dir: str | Path | None) -> FileRows:
    """Read fer2013new.csv and fer2013.csv, the small one first: its faults show at once.

    Raises:
        InputError: a file is missing or damaged, or they do not belong together.
    """
    votes = read_votes(data_dir)
    fer = read_fer2013(data_dir, cache_dir)
    _check_agreement(fer, votes)
    source = _of_votes(votes)
    hashes = {fer.source.name: fer.sha256} | source.hashes
    return source._replace(images=fer.images, hashes=hashes)


def ferplus_votes(data_dir: str | Path) -> FileRows:
    """Read fer2013new.csv alone: labels without faces.

    Raises:
        InputError: it is missing or damaged.
    """
    return _of_votes(read_votes(data_dir))


def fer2013(data_dir: str | Path, cache_dir: str | Path | None) -> FileRows:
    """Read fer2013.csv with its own labels.

    Raises:
        InputError: it is missing or damaged.
    """
    fer = read_fer2013(data_dir, cache_dir)
    hashes = {fer.source.name: fer.sha256}
    labels = np.eye(len(FER2013_CLASSES), dtype=np.float32)[fer.emotions]
    return FileRows(labels, _split_names(fer.usage), fer.images, FER2013_CLASSES, hashes)


def own_folder(data_dir: str | Path, cache_dir: str | Path | None) -> FileRows:
    """Read a folder of pictures.

    Raises:
        InputError: as `folder.read_folder`.
    """
    folder = read_folder(data_dir, cache_dir)
    return FileRows(
        np.eye(len(folder.class_names), dtype=np.float32)[folder.labels],
        folder.splits,
        folder.images,
        folder.class_names,
        {folder.source.name: folder.sha256},
        folder.paths,
    )


def _of_votes(votes: Votes) -> FileRows:
    hashes = {votes.source.name: votes.sha256}
    return FileRows(votes.votes, _split_names(votes.usage), None, FERPLUS_CLASSES, hashes)


def _split_names(usage: np.ndarray) -> np.ndarray:
    """Turn values of the Usage column into names of splits."""
    names = np.full(usage.shape, "", f"U{max(map(len, SPLITS))}")
    for name, value in SPLITS.items():
        names[usage == value] = name
    return names


def _check_agreement(fer: Fer2013, votes: Votes) -> None:
    """Refuse files that are not row by row about the same faces, as far as `Usage` can tell."""
    shorter = min(len(fer.usage), len(votes.usage))
    differs = np.flatnonzero(fer.usage[:shorter] != votes.usage[:shorter])
    if differs.size:
        row = differs[0]
        raise InputError(
            f"{fer.source} and {votes.source} do not belong together: row {row + 1} (data rows "
            f"counted from 1) has Usage {fer.usage[row]} in one, {votes.usage[row]} in the other; "
            "get both anew, with their rows in the original order"
        )
    if len(fer.usage) != len(votes.usage):
        raise InputError(
            f"{fer.source} has {len(fer.usage)} rows, {votes.source} has {len(votes.usage)}: row "
            f"{shorter + 1} is in one of them only; the shorter file may be cut off: get it anew"
        )
