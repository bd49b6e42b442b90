"""The command `export`: its arguments, the faces to compare on, and what it prints."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.config import default_data_dir
from ferplus_keras.data.dataset import open_source
from ferplus_keras.data.sample_faces import draw_rows
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.export.export import EXPORTS, check_export, default_target
from ferplus_keras.export.export import export as write
from ferplus_keras.formats import PRECISIONS
from ferplus_keras.models.checkpoint import CheckpointInfo, read_info
from ferplus_keras.run import Run, find_checkpoint

CALIBRATION = 500
"""Faces on which int8 measures its ranges."""

DESCRIPTION = """\
Write a checkpoint in another format and compare its predictions with the checkpoint's.

  python -m ferplus_keras export --checkpoint_path checkpoints/experiment_1 --format onnx

writes model_max_acc.onnx beside the checkpoint (docs/export.md)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of `export`."""
    parser.description = DESCRIPTION
    parser.add_argument(
        "--checkpoint_path", type=Path, required=True, help="file, or a run folder: its best model"
    )
    parser.add_argument("--format", choices=EXPORTS, required=True)
    parser.add_argument(
        "--quantize",
        choices=PRECISIONS[1:],
        help="store weights smaller; int8 also computes in 8 bits [float32]",
    )
    parser.add_argument(
        "--output", type=Path, help="what to write [beside the checkpoint, named like it]"
    )
    parser.add_argument(
        "--data_dir",
        help="data set whose validation faces are compared on "
        "[that of the run, $FERPLUS_DATA_DIR, ./data; else drawn faces]",
    )
    parser.add_argument("--rows", type=int, default=1000, help="faces to compare on [1000]")


def export(arguments: argparse.Namespace) -> None:
    """Run `export` and print what was written and how far its predictions differ."""
    if arguments.rows < 1:
        raise UsageError(f"expected --rows of at least 1, got {arguments.rows}")
    checkpoint = find_checkpoint(arguments.checkpoint_path)
    kind, precision = arguments.format, arguments.quantize or PRECISIONS[0]
    target = arguments.output or default_target(checkpoint, kind, precision)
    check_export(checkpoint, target, kind, precision)
    info = read_info(checkpoint)
    folders = [arguments.data_dir]
    if not arguments.data_dir:
        folders = [f for f in (Run(checkpoint.parent).data_dir(), default_data_dir()) if f]
    try:
        faces = read_faces(info, folders, arguments.rows)
    except InputError as error:
        if arguments.data_dir:
            raise
        print(f"no validation faces ({error}); comparing on drawn ones", file=sys.stderr)
        faces = draw_faces(info, arguments.rows)
    source, *compared = faces
    print(write(checkpoint, target, kind, precision, *compared))
    print(f"compared on {source}")


class ExportFaces(NamedTuple):
    """What to call the source of the faces, and what `export` takes of them, in its order."""

    source: str
    images: np.ndarray
    labels: Callable[[np.ndarray], np.ndarray] | None
    calibration: np.ndarray


def read_faces(info: CheckpointInfo, folders: Sequence[str], rows: int) -> ExportFaces:
    """Return at most `rows` validation faces, and training faces that are not among them.

    They are evenly spaced over the splits of the first folder that has the checkpoint's data set.

    Raises:
        InputError: no folder can be used; says why of the first.
    """
    failures = []
    names = {"class_map": info.class_map, "class_names": info.class_names}
    for folder in folders:
        try:
            source = open_source(folder, info.dataset_name, **names)
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
