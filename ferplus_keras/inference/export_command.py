"""The command `export`: its arguments, and the work behind them."""

from __future__ import annotations

import argparse
from pathlib import Path

from ferplus_keras.config import default_data_dir
from ferplus_keras.errors import UsageError
from ferplus_keras.inference.formats import FORMATS, PRECISIONS

DESCRIPTION = """\
Write a checkpoint in another format and compare its answers with the checkpoint's.

  python -m ferplus_keras export --checkpoint_path checkpoints/experiment_1 --format onnx

writes model_max_acc.onnx beside the checkpoint (docs/export.md)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of `export`."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--checkpoint_path", type=Path, required=True, help="file, or a run folder: its best model"
    )
    parser.add_argument("--format", choices=list(FORMATS), required=True)
    parser.add_argument(
        "--quantize", choices=PRECISIONS[1:], help="store smaller; int8 computes so too [float32]"
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
    """Run `export` and print what was written and how far its answers are off.

    Args:
        arguments: as `add_arguments` describes them.

    Raises:
        UsageError: arguments that do not go together.
        InputError: checkpoint, data or output cannot be used, a package is missing, or the export
            answers differently.
    """
    from ferplus_keras.evaluation.evaluate import data_dir_of_run
    from ferplus_keras.evaluation.members import find_checkpoint
    from ferplus_keras.inference.export import check_export, default_target
    from ferplus_keras.inference.export import export as write
    from ferplus_keras.inference.export_faces import find_faces
    from ferplus_keras.models.checkpoint import read_info

    if arguments.rows < 1:
        raise UsageError(f"expected --rows of at least 1, got {arguments.rows}")
    checkpoint = find_checkpoint(arguments.checkpoint_path)
    kind, precision = arguments.format, arguments.quantize or PRECISIONS[0]
    target = arguments.output or default_target(checkpoint, kind, precision)
    check_export(checkpoint, target, kind, precision)
    usual = dict.fromkeys((data_dir_of_run(checkpoint.parent), default_data_dir()))
    faces = find_faces(read_info(checkpoint), arguments.data_dir, list(usual), arguments.rows)
    done = write(checkpoint, target, kind, precision, faces.images, faces.labels, faces.calibration)
    print(done)
    print(f"compared on {faces.source}")
