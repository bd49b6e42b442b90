"""The command `export`: its arguments and what it prints."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ferplus_keras.config import default_data_dir
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.export.export import EXPORTS, check_export, default_target
from ferplus_keras.export.export import export as write
from ferplus_keras.export.faces import draw_faces, read_faces
from ferplus_keras.formats import PRECISIONS
from ferplus_keras.hub import require_place
from ferplus_keras.models.checkpoint import read_info
from ferplus_keras.run import Run, find_checkpoint

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
        help="store weights smaller; bfloat16 (OpenVINO) and int8 also compute faster [float32]",
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
    require_place(arguments.checkpoint_path, arguments.output, "--output")
    checkpoint = find_checkpoint(arguments.checkpoint_path)
    kind, precision = arguments.format, arguments.quantize or PRECISIONS[0]
    target = arguments.output or default_target(checkpoint, kind, precision)
    check_export(checkpoint, target, kind, precision)
    info = read_info(checkpoint)
    folders = [arguments.data_dir]
    if not arguments.data_dir:
        folders = [f for f in (Run(checkpoint.parent).data_dir(), default_data_dir()) if f]
    try:
        faces = read_faces(info, folders, arguments.rows, **Run(checkpoint.parent).reading())
    except InputError as error:
        if arguments.data_dir:
            raise
        print(f"no validation faces ({error}); comparing on drawn ones", file=sys.stderr)
        faces = draw_faces(info, arguments.rows)
    source, *compared = faces
    print(write(checkpoint, target, kind, precision, *compared))
    print(f"compared on {source}")
