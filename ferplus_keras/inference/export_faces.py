"""Faces to compare an export on, and others to measure int8's ranges on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.data.dataset import load_split
from ferplus_keras.data.sample_faces import draw_rows
from ferplus_keras.errors import InputError
from ferplus_keras.models.checkpoint import CheckpointInfo

CALIBRATION = 500
"""Faces on which int8 measures its ranges."""


class ExportFaces(NamedTuple):
    """What an export is judged on.

    Attributes:
        source: what the faces are, for the reader.
        images: (n, 48, 48) uint8 to compare on.
        labels: (n,) int, index of each true class; None for drawn faces.
        calibration: (m, 48, 48) uint8, none of which is among `images`.
    """

    source: str
    images: np.ndarray
    labels: np.ndarray | None
    calibration: np.ndarray


def read_faces(info: CheckpointInfo, folders: Sequence[str], rows: int) -> ExportFaces:
    """Return validation faces, and training faces that are not among them in another copy.

    Args:
        info: what the checkpoint says; its classes and label rule decide.
        folders: data folders, of which the first is used that has the checkpoint's data set.
        rows: validation faces to compare on, evenly spaced over the split; all if it has fewer.

    Raises:
        InputError: no folder can be used; says why of the first.
    """
    failures = []
    for folder in folders:
        try:
            return _read(info, folder, rows)
        except InputError as error:
            failures.append(error)
    raise failures[0]


def draw_faces(rows: int) -> ExportFaces:
    """Return drawn faces: they show whether an export answers alike, not how well."""
    images, calibration = (
        np.stack([drawing.pixels for drawing in draw_rows(count, seed)[1]])
        for seed, count in enumerate((rows, CALIBRATION))
    )
    return ExportFaces(f"{rows:,} drawn faces", images, None, calibration)


def find_faces(
    info: CheckpointInfo, data_dir: str | None, usual: Sequence[str], rows: int
) -> ExportFaces:
    """Return real faces where there are any, else drawn ones, which is said on standard error.

    Args:
        info: what the checkpoint says.
        data_dir: the folder that was asked for, if any.
        usual: the folders to look in else.
        rows: faces to compare on.

    Raises:
        InputError: the folder that was asked for cannot be used.
    """
    if data_dir:
        return read_faces(info, [data_dir], rows)
    try:
        return read_faces(info, usual, rows)
    except InputError as error:
        print(f"no validation faces ({error}); comparing on drawn ones", file=sys.stderr)
        return draw_faces(rows)


def _read(info: CheckpointInfo, folder: str, rows: int) -> ExportFaces:
    validation, train = (
        load_split(
            folder,
            name,
            info.dataset_name,
            info.evaluation_rule,
            class_map=info.class_map,
            class_names=info.class_names,
        )
        for name in ("validation", "train")
    )
    chosen = _spaced(len(validation.images), rows)
    return ExportFaces(
        f"{len(chosen):,} validation faces of {Path(folder)}",
        validation.images[chosen],
        validation.targets[chosen].argmax(axis=1),
        train.images[~train.leaked][_spaced(np.count_nonzero(~train.leaked), CALIBRATION)],
    )


def _spaced(count: int, wanted: int) -> np.ndarray:
    return np.linspace(0, count - 1, min(count, wanted)).round().astype(int)
