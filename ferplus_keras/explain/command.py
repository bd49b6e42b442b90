"""The command `explain`: its arguments, the faces that it reads, and the work behind them."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ferplus_keras.arguments import Number
from ferplus_keras.classifier import Classifier
from ferplus_keras.data.dataset import Source, open_source
from ferplus_keras.data.pictures import as_face, read_picture
from ferplus_keras.emotions import SPLITS
from ferplus_keras.errors import InputError, unknown
from ferplus_keras.explain.explanations import (
    Faces,
    class_means,
    draw_class_means,
    draw_explanations,
    explain_faces,
    save,
    scores_of,
)
from ferplus_keras.explain.methods import METHODS, Method, Scores
from ferplus_keras.extras import require
from ferplus_keras.files import require_writable
from ferplus_keras.inference.sources import find_sources, is_video
from ferplus_keras.run import Run, require_place

ALL = "all"
"""Stands for every method."""

DESCRIPTION = """\
Show which pixels of a face a network's decision rests on.

  python -m ferplus_keras explain --checkpoint_path checkpoints/experiment_1 --images face.png

writes explanations.png, one row per face and one column per method, and explanations.npz with the
maps. --split validation writes class_means.png instead: what the network looks at in each class."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of `explain`."""
    add = parser.add_argument
    text = "file, or a run folder: its best model"
    add("--checkpoint_path", required=True, help=text)
    faces = parser.add_mutually_exclusive_group(required=True).add_argument
    text = "pictures of faces, folders or glob patterns"
    faces("--images", nargs="+", metavar="PATH", help=text)
    faces("--rows", nargs="+", type=int, metavar="ROW", help="rows of the data set, from 0")
    faces("--split", metavar="SPLIT", help=f"class means of: {', '.join(SPLITS)}")
    add("--data_dir", help="folder of fer2013.csv, or of own pictures [that of the run]")
    text = f"{', '.join(METHODS)} or {ALL} [{ALL}; with --split saliency]"
    add("--method", nargs="+", metavar="METHOD", help=text)
    add("--class_name", help="class to explain [the predicted one; with --split the true one]")
    add("--output_dir", type=Path, help="where files go [beside the checkpoint]")
    add("--batch_size", type=Number(int, low=1), default=64, help="[64]")


def explain(arguments: argparse.Namespace) -> None:
    """Run `explain` and print where its files are.

    Raises:
        UsageError: an unknown method, class or split.
        InputError: checkpoint or data cannot be used, a method that was asked for cannot explain
            the checkpoint, or some pictures cannot be read: it comes when the others are done.
    """
    wanted = arguments.method or ["saliency" if arguments.split else ALL]
    for name in wanted:
        if name not in (*METHODS, ALL):
            raise unknown("method", name, (*METHODS, ALL))
    methods = [each for each in METHODS.values() if ALL in wanted or each.name in wanted]
    if arguments.split and arguments.split not in SPLITS:
        raise unknown("split", arguments.split, SPLITS)
    require(("matplotlib",), "explaining")
    require_place(arguments.checkpoint_path, arguments.output_dir, "--output_dir")
    failures: list[str] = []
    if arguments.images:
        paths, failures = find_pictures(arguments.images)
    classifier = Classifier.open(arguments.checkpoint_path).named()
    info = classifier.info
    if arguments.class_name and arguments.class_name not in info.class_names:
        raise unknown("class", arguments.class_name, info.class_names)
    folder = arguments.output_dir or classifier.path.parent
    require_writable(folder, "--output_dir")
    if arguments.images:
        faces = read_pictures(paths, info.face_shape, failures)
    else:
        run = Run(classifier.path.parent)
        data_dir = arguments.data_dir or run.data_dir()
        source = open_source(data_dir, **(info.data() | run.reading()))
        if arguments.rows:
            faces = read_rows(arguments.rows, source, info.evaluation_rule)

    classifier.announce("explaining")
    network = scores_of(classifier, arguments.batch_size)
    methods = usable(methods, network, arguments.method or ())
    if arguments.split:
        split = source.split(arguments.split, info.evaluation_rule)
        started, total = time.perf_counter(), len(split.images)
        found = class_means(network, split, methods, arguments.class_name, arguments.split)
        speed = total / (time.perf_counter() - started)
        save(found, folder / "class_means.npz")
        draw_class_means(found, folder / "class_means.png")
        print(f"{arguments.split}: {total:,} faces, {speed:.0f} images/s")
        print(f"class_means.png and class_means.npz are in {folder}")
    else:
        found = explain_faces(network, faces, methods, arguments.class_name)
        save(found, folder / "explanations.npz")
        pages = draw_explanations(found, faces.images, folder)
        print(f"{', '.join(page.name for page in pages)} and explanations.npz are in {folder}")
    if failures:
        print(*failures, sep="\n", file=sys.stderr)
        raise InputError(
            f"{len(failures)} of the --images could not be used; the others were explained"
        )


def usable(methods: Sequence[Method], network: Scores, asked: Sequence[str]) -> list[Method]:
    """Return the methods that can explain a network; standard error says why others cannot.

    Raises:
        InputError: none can, or one that was asked for by its name cannot.
    """
    by_refusal: dict[str | None, list[Method]] = {}
    for method in methods:
        by_refusal.setdefault(method.refusal(network), []).append(method)
    left = by_refusal.pop(None, [])
    for reason, refused in by_refusal.items():
        names = [method.name for method in refused]
        line = f"{', '.join(names)}: {reason}"
        if not left or set(names) & set(asked):
            raise InputError(f"{line}; choose another --method")
        print(f"{line}; left out", file=sys.stderr)
    return left


def find_pictures(patterns: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return the pictures of files, folders and globs, and an error line per pattern without any.

    Raises:
        InputError: there is no picture at all.
    """
    every, failures = [], []
    for pattern in patterns:
        try:
            every += [source for source in find_sources([pattern]) if not is_video(source)]
        except InputError as error:
            failures.append(str(error))
    if not every:
        raise InputError("; ".join(failures) or "expected pictures, found videos only")
    return every, failures


def read_pictures(paths: Sequence[Path], shape: tuple[int, ...], failures: list[str]) -> Faces:
    """Return the faces in pictures, in that shape; unreadable ones add a line to `failures`.

    Raises:
        InputError: none could be read; each reason is in the message.
    """
    images, names = [], []
    for path in paths:
        try:
            images.append(as_face(read_picture(path), shape))
            names.append(str(path))
        except InputError as error:
            failures.append(str(error))
    if not images:
        raise InputError("; ".join(failures))
    return Faces(np.stack(images), names, [""] * len(images))


def read_rows(rows: Sequence[int], source: Source, rule_name: str) -> Faces:
    """Return rows of a data set, counted from 0 as in predictions.csv, labelled by a rule.

    Raises:
        InputError: there is no such row.
    """
    images, paths = source.rows.images, source.rows.paths
    for row in rows:
        if not 0 <= row < len(images):
            raise InputError(f"expected rows of 0 to {len(images) - 1}, got {row}")
    rule = source.label_set.rule(rule_name)
    labels = source.label(rule)
    classes = rule.kind.labels(labels.targets, source.votes())
    return Faces(
        images[list(rows)],
        [f"row {row}" if paths is None else str(paths[row]) for row in rows],
        [source.class_names[classes[row]] if labels.keep[row] else "" for row in rows],
    )
