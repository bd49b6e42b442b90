"""The command `explain`: its arguments, and the work behind them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ferplus_keras.backend import choose_backend, load_keras
from ferplus_keras.emotions import SPLITS
from ferplus_keras.errors import InputError, UsageError, unknown
from ferplus_keras.explain.methods import ALL, METHODS, Method, find_methods
from ferplus_keras.files import require_writable

DESCRIPTION = """\
Show which pixels of a face made a network say what it said.

  python -m ferplus_keras explain --checkpoint_path checkpoints/experiment_1 --images face.png

writes explanations.png, a row a face and a column a method, and explanations.npz with the maps.
  --split validation writes class_means.png instead: what the network looks at in each class."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of `explain`."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--checkpoint_path", type=Path, required=True, help="file, or a run folder: its best model"
    )
    faces = parser.add_mutually_exclusive_group(required=True)
    faces.add_argument(
        "--images", nargs="+", metavar="PATH", help="pictures of faces, folders or glob patterns"
    )
    faces.add_argument(
        "--rows", nargs="+", type=int, metavar="ROW", help="rows of fer2013.csv, from 0"
    )
    faces.add_argument("--split", metavar="SPLIT", help=f"class means of: {', '.join(SPLITS)}")
    parser.add_argument("--data_dir", help="folder of fer2013.csv [that of the run]")
    parser.add_argument(
        "--method",
        nargs="+",
        metavar="METHOD",
        help=f"{', '.join(METHODS)} or {ALL} [{ALL}; with --split saliency]",
    )
    parser.add_argument(
        "--class_name", help="class to explain [the predicted one; with --split the true one]"
    )
    parser.add_argument("--output_dir", type=Path, help="where files go [beside the checkpoint]")
    parser.add_argument("--batch_size", type=int, default=64)


def explain(arguments: argparse.Namespace) -> None:
    """Run `explain` and print where its files are.

    Args:
        arguments: as `add_arguments` describes them.

    Raises:
        UsageError: an unknown method, class or split, or a batch size below 1.
        InputError: checkpoint or data cannot be used; or some pictures cannot be read, which is
            said when the others are done.
    """
    from ferplus_keras.evaluation.members import find_checkpoint
    from ferplus_keras.models.checkpoint import load_checkpoint, read_info

    methods = find_methods(arguments.method or ["saliency" if arguments.split else ALL])
    if arguments.split and arguments.split not in SPLITS:
        raise unknown("split", arguments.split, SPLITS)
    if arguments.batch_size < 1:
        raise UsageError(f"expected a --batch_size of at least 1, got {arguments.batch_size}")
    path = find_checkpoint(arguments.checkpoint_path)
    info = read_info(path)
    if arguments.class_name and arguments.class_name not in info.class_names:
        raise unknown("class", arguments.class_name, info.class_names)
    folder = arguments.output_dir or path.parent
    require_writable(folder, "--output_dir")
    faces, failures = _read(arguments, info, path)

    choose_backend()
    load_keras()
    from ferplus_keras.explain.network import Network

    model, info = load_checkpoint(path)
    network = Network(model, info.class_names, arguments.batch_size)
    if network.feature_layer is None:
        methods = _without_feature_map(methods, arguments.method)
    work = _class_means if arguments.split else _faces
    work(network, faces, methods, arguments, folder)
    if failures:
        for failure in failures:
            print(failure, file=sys.stderr)
        raise InputError(f"{len(failures)} of the --images could not be used; the others are done")


def _read(arguments, info, path: Path):
    """Return the faces, or the split, and what could not be read."""
    from ferplus_keras.explain.faces import read_pictures, read_rows, read_split

    if arguments.images:
        return read_pictures(arguments.images)
    from ferplus_keras.evaluation.evaluate import data_dir_of_run

    data_dir = arguments.data_dir or data_dir_of_run(path.parent)
    if arguments.split:
        return read_split(arguments.split, data_dir, info), []
    return read_rows(arguments.rows, data_dir, info), []


def _without_feature_map(methods: list[Method], asked: list[str] | None) -> list[Method]:
    """Leave out, and say so, methods for which the network has no feature map.

    Raises:
        InputError: one of them was asked for by name.
    """
    for method in methods:
        if method.needs_feature_map:
            line = f"{method.name}: the network has no feature map larger than 1x1"
            if method.name in (asked or ()):
                raise InputError(f"{line}; choose another --method")
            print(f"{line}; left out", file=sys.stderr)
    return [method for method in methods if not method.needs_feature_map]


def _faces(network, faces, methods, arguments, folder: Path) -> None:
    from ferplus_keras.explain.explanations import explain_faces, write_explanations
    from ferplus_keras.explain.sheets import draw_explanations

    found = explain_faces(network, faces, methods, arguments.class_name)
    write_explanations(found, folder / "explanations.npz")
    pages = draw_explanations(found, folder)
    print(f"{', '.join(page.name for page in pages)} and explanations.npz are in {folder}")


def _class_means(network, split, methods, arguments, folder: Path) -> None:
    from ferplus_keras.explain.class_means import class_means, write_class_means
    from ferplus_keras.explain.sheets import draw_class_means

    found = class_means(network, split, methods, arguments.class_name, arguments.split)
    write_class_means(found, folder / "class_means.npz")
    draw_class_means(found, folder / "class_means.png")
    rows = len(split.images)
    print(f"{arguments.split}: {rows:,} faces, {rows / found.seconds:.0f} images/s")
    print(f"class_means.png and class_means.npz are in {folder}")
