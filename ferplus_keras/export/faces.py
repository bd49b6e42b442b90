"""Faces on which an export is compared with its checkpoint: validation faces, or drawn ones."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ferplus_keras.data.dataset import open_source
from ferplus_keras.data.sample_faces import draw_rows
from ferplus_keras.errors import InputError
from ferplus_keras.models.checkpoint import CheckpointInfo

CALIBRATION = 500
"""Faces on which int8 measures its ranges."""


class ExportFaces(NamedTuple):
    """What to call the source of the faces, and what `export` takes of them, in its order."""

    source: str
    images: np.ndarray
    labels: Callable[[np.ndarray], np.ndarray] | None
    calibration: np.ndarray


def read_faces(
    info: CheckpointInfo, folders: Sequence[str], rows: int, **reading: Any
) -> ExportFaces:
    """Return at most `rows` validation faces, and training faces that are not among them.

    They are evenly spaced over the splits of the first folder that has the checkpoint's data set,
    read as `reading` says, keywords of `open_source`.

    Raises:
        InputError: no folder can be used; says why of the first.
    """
    failures = []
    how = {"class_map": info.class_map, "class_names": info.class_names, **reading}
    shape = {"face_size": info.face_size, "colour": info.colour}
    for folder in folders:
        try:
            source = open_source(folder, info.dataset_name, **how, **shape)
            split, train = (source.split(k, info.evaluation_rule) for k in ("validation", "train"))
        except InputError as error:
            failures.append(error)
            continue
        split = split.take(_spaced(np.arange(len(split.images)), rows))
        used = train.images[_spaced(np.flatnonzero(~train.leaked), CALIBRATION)]
        name = f"{len(split.images):,} validation faces of {Path(folder)}"
        return ExportFaces(name, split.images, split.labels, used)
    raise failures[0]


def draw_faces(info: CheckpointInfo, rows: int) -> ExportFaces:
    """Return drawn faces: they show whether an export predicts the same, not how well."""
    import cv2

    size = (info.face_size, info.face_size)
    images, calibration = (
        np.stack([cv2.resize(drawing.pixels, size) for drawing in draw_rows(count, seed)[1]])
        for seed, count in enumerate((rows, CALIBRATION))
    )
    if info.colour:
        images, calibration = (np.stack([grey] * 3, axis=-1) for grey in (images, calibration))
    return ExportFaces(f"{rows:,} drawn faces", images, None, calibration)


def _spaced(rows: np.ndarray, wanted: int) -> np.ndarray:
    """Return at most `wanted` of some rows, evenly spaced."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), wanted)).round().astype(int)]
