"""`predict.py`: its arguments, and its work on one file after another."""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ferplus_keras.arguments import Number
from ferplus_keras.data.augment import VIEWS
from ferplus_keras.data.pictures import SUFFIXES, read_picture
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.files import behind_links, require_writable
from ferplus_keras.inference import tables
from ferplus_keras.inference.annotate import annotate, write_picture
from ferplus_keras.inference.crop import MARGIN
from ferplus_keras.inference.detectors import DETECTORS
from ferplus_keras.inference.predictor import Prediction, Predictor
from ferplus_keras.inference.sources import (
    VIDEO_SUFFIXES,
    Source,
    copy_paths,
    find_sources,
    is_video,
    shown_name,
)
from ferplus_keras.inference.video import EVERY, predict_video
from ferplus_keras.progress import progress_bar

DESCRIPTION = """\
Classify the facial expressions in photos and videos.

  python predict.py photo.jpg holiday/ 'more/*.png'
  python predict.py clip.mp4 --save_dir annotated
  python predict.py --webcam

The model that comes with the package is used unless --checkpoint_path names another one."""

CHUNK = 32  # pictures whose faces the network sees together; of each, only its faces are kept
MANY = 5  # pictures from which on progress is shown
CROPPED = 300  # longest side of a square picture that may be a face cut out already, in pixels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of predict.py."""
    add = parser.add_argument
    text = "picture, video, folder, pattern or rtsp://, http:// … address of a video; "
    add("sources", nargs="*", metavar="SOURCE", help=f"{text}- reads them from standard input")
    add("--checkpoint_path", help="run, checkpoint, export or dlib_resnet.onnx [fast_fer.onnx]")
    text = "face detector; auto is yunet, or mtcnn where YuNet's file cannot be had; "
    text += "whole takes each picture as one face [auto]"
    add("--faces", dest="detector", choices=list(DETECTORS), default="auto", help=text)
    add("--faces_weights", help="YuNet's file [found, or fetched once]")
    text = f"enlarge the crop of each face by this share of its side [{MARGIN:g}]"
    add("--margin", type=Number(float, low=-0.5, high=2), default=MARGIN, help=text)
    add("--tta", choices=list(VIEWS), default="none", help="average over views of a face [none]")
    add("--json", action="store_true", help="print JSON instead of a table")
    text = "write a line per face, in videos per face and frame; - writes to standard output"
    add("--csv", type=_table_path, help=text)
    add("--submission", type=_table_path, help="write a file,emotion line per picture")
    add("--save_dir", type=Path, help="folder for annotated copies")
    add = parser.add_argument_group("archives").add_argument
    text = "local, or ray: many processes and machines (docs/clusters.md) [local]"
    add("--engine", choices=["local", "ray"], default="local", help=text)
    add("--output_dir", type=Path, help="folder for ray's Parquet files; a restart goes on there")
    add("--workers", type=Number(int, low=1), help="ray's processes [one per processor core]")
    add = parser.add_argument_group("video").add_argument
    add("--webcam", type=int, nargs="?", const=0, metavar="NUMBER", help="read a camera [0]")
    text = f"frames from one detection to the next [{EVERY}]"
    add("--every", type=Number(int, low=1), default=EVERY, help=text)
    add("--seconds", type=Number(float, above=0), help="stop after this many seconds of video")


def _table_path(name: str) -> Path:
    """Return where a table goes; what is printed must not overwrite one on /dev/stdout."""
    return tables.STANDARD_OUTPUT if name == "/dev/stdout" else Path(name)


def predict(arguments: argparse.Namespace) -> None:
    """Run predict.py.

    Raises:
        UsageError: wrong arguments.
        InputError: a source cannot be used. Of several the others are finished first.
        KeyboardInterrupt: Ctrl-C; what was done until then is kept.
    """
    names = ("checkpoint_path", "detector", "faces_weights", "margin", "tta")
    settings = {name: getattr(arguments, name) for name in names}
    if arguments.engine == "ray" or arguments.output_dir or arguments.workers:
        _predict_archive(arguments, settings)
        return
    sources, copies = _check(arguments)
    predictor = Predictor(**settings)
    predictor.classifier.announce("classifying")
    _Job(predictor, arguments, copies).run(sources)


def _predict_archive(arguments: argparse.Namespace, settings: dict[str, Any]) -> None:
    if arguments.engine != "ray" or not arguments.output_dir or not arguments.sources:
        raise UsageError("--engine ray, --output_dir FOLDER and pictures belong together")
    for name in ("json", "csv", "submission", "save_dir", "webcam", "seconds"):
        value = getattr(arguments, name)
        if value is not None and value is not False:  # camera 0 is a value, too
            raise UsageError(f"--{name} needs --engine local: ray writes Parquet files only")
    from ferplus_keras.inference.archive import predict_archive

    predict_archive(arguments.sources, arguments.output_dir, settings, arguments.workers)


def _check(arguments: argparse.Namespace) -> tuple[list[Source], dict[Source, Path]]:
    """Return the sources and where their copies go; refuse wrong arguments before slow work."""
    if not arguments.sources and arguments.webcam is None:
        raise UsageError("expected pictures, videos or folders, or --webcam; see --help")
    given = {"--csv": arguments.csv, "--submission": arguments.submission}
    files = {flag: path for flag, path in given.items() if path}
    printed = [f"{flag} -" for flag, path in files.items() if path == tables.STANDARD_OUTPUT]
    printed += ["--json"] * arguments.json
    if len(printed) > 1:
        raise UsageError(f"expected one of {' and '.join(printed)} on standard output")
    if len(set(map(os.path.realpath, files.values()))) < len(files):
        raise UsageError(f"--submission: expected another file than --csv {arguments.csv}")
    sources = [] if arguments.webcam is None else [arguments.webcam]
    if arguments.sources:
        sources += find_sources(arguments.sources, arguments.save_dir)
    videos = [shown_name(source) for source in sources if is_video(source)]
    if arguments.submission and videos:
        raise UsageError(f"--submission: expected pictures only, got {videos[0]}")
    for flag, path in files.items():
        if path != tables.STANDARD_OUTPUT:
            if path.is_dir():
                raise UsageError(f"{flag}: expected a file, got the folder {path}")
            if path.suffix.lower() in (*SUFFIXES, *VIDEO_SUFFIXES):  # a forgotten name: *.jpg
                raise UsageError(f"{flag}: expected the name of a table, got {path}")
            if behind_links(path):  # else it is a pipe or a device
                require_writable(path.parent, "place for the table")
    copies = {}
    if arguments.save_dir:
        copies = copy_paths(sources, arguments.save_dir)
        require_writable(arguments.save_dir, "--save_dir")
    return sources, copies


@dataclass
class _Job:
    """Predicts one source after the other and writes what was asked for."""

    predictor: Predictor
    arguments: argparse.Namespace
    copies: dict[Source, Path]
    add_to_table: tables.AddFaces | None = None
    pictures: list[tuple[Path, list[Prediction]]] = field(default_factory=list)
    entries: list[dict] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    cropped: int = 0  # pictures that may be faces cut out already

    def run(self, sources: Sequence[Source]) -> None:
        arguments, stopped = self.arguments, None
        to_output = tables.STANDARD_OUTPUT in (arguments.csv, arguments.submission)
        names, moments = self.predictor.class_names, any(map(is_video, sources))
        table = nullcontext()
        if arguments.csv:
            table = tables.csv_table(arguments.csv, names, moments)
        try:
            with table as self.add_to_table:
                stopped = self._predict(sources, sys.stderr if to_output else sys.stdout)
                if self.failures and not any("faces" in entry for entry in self.entries):
                    raise InputError(self.failures.pop())  # an older table is better than none
            if arguments.submission:
                tables.write_submission(self.pictures, arguments.submission)
        except InputError as error:  # such as a full disk: what was found is printed all the same
            self.failures.append(str(error))
        if arguments.json:
            print(tables.to_json(self.entries, sys.stdout.encoding or "utf-8"))
        elif self.pictures and not to_output:
            print(tables.format_table(self.pictures))
        if self.cropped:
            print(
                f"note: no face was found in {self.cropped} small square pictures; if they are "
                "already cropped faces, use --faces whole",
                file=sys.stderr,
            )
        if stopped:
            raise stopped
        if len(self.failures) > 1:
            for failure in self.failures:
                print(f"error: {failure}", file=sys.stderr)
            raise InputError(f"{len(self.failures)} of {len(sources)} files could not be used")
        if self.failures:
            raise InputError(self.failures[0])

    def _predict(self, sources: Sequence[Source], output: TextIO) -> KeyboardInterrupt | None:
        """Predict all sources; return the Ctrl-C that ended this early."""
        try:
            for video, group in groupby(sources, is_video):
                if video:
                    for source in group:
                        self._video(source, output)
                else:
                    self._pictures(list(group))
        except KeyboardInterrupt as stop:
            return stop
        return None

    def _video(self, source: Source, output: TextIO) -> None:
        copy = self.copies.get(source)
        every, seconds = self.arguments.every, self.arguments.seconds
        choices = {"every": every, "seconds": seconds, "add_to_table": self.add_to_table}
        try:
            if copy:
                require_writable(copy.parent, "--save_dir")
            summary = predict_video(source, self.predictor, copy=copy, **choices)
        except tables.TableError:
            raise
        except InputError as error:
            self._fail(source, error)
            return
        self.entries.append(summary.entry())
        if not self.arguments.json:
            try:
                print(summary, file=output)
            except BrokenPipeError:  # as of `| head`: the table is wanted all the same
                if not self.add_to_table:
                    raise
        if summary.problem:
            self.failures.append(summary.problem)
        if summary.stopped:
            raise summary.stopped

    def _pictures(self, paths: Sequence[Path]) -> None:
        size = 1 if self.copies else CHUNK  # a copy needs the picture, which is large
        few = len(paths) < MANY
        with progress_bar(total=len(paths), disable=few, desc="pictures", unit=" pictures") as bar:
            for begin in range(0, len(paths), size):
                found = {}
                try:
                    for path in paths[begin : begin + size]:
                        try:
                            picture = read_picture(path)
                        except MemoryError:
                            self._fail(path, InputError(f"cannot read {path}: not enough memory"))
                        except InputError as error:
                            self._fail(path, error)
                        else:
                            found[path] = boxes, _ = self.predictor.find(picture)
                            height, width = picture.shape[:2]
                            square = 0.75 < width / height < 1.34
                            self.cropped += not boxes and square and max(height, width) <= CROPPED
                        bar.update()
                finally:  # after Ctrl-C too
                    answers = self.predictor.classify(found.values())
                    for path, faces in zip(found, answers, strict=True):
                        if self.copies:
                            self._copy(annotate(picture, faces), self.copies[path])
                        self.pictures.append((path, faces))
                        self.entries.append(tables.picture_entry(path, faces))
                        if self.add_to_table:
                            self.add_to_table(path, enumerate(faces))

    def _copy(self, picture: np.ndarray, path: Path) -> None:
        try:
            write_picture(picture, path)
        except InputError as error:  # the answer itself is as good as without a copy
            self.failures.append(str(error))

    def _fail(self, source: Source, error: InputError) -> None:
        self.failures.append(str(error))
        self.entries.append({"file": shown_name(source), "error": str(error)})
