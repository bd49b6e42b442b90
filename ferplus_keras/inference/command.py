"""`predict.py`: its arguments, and its work on one file after another."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import numpy as np

from ferplus_keras.data.augment import VIEWS
from ferplus_keras.data.pictures import read_picture
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.files import require_writable
from ferplus_keras.inference import tables
from ferplus_keras.inference.annotate import annotate, write_picture
from ferplus_keras.inference.crop import MARGIN
from ferplus_keras.inference.detectors import DETECTORS
from ferplus_keras.inference.predictor import Prediction, Predictor
from ferplus_keras.inference.sources import Source, copy_paths, find_sources, is_video, shown_name
from ferplus_keras.inference.video import EVERY, predict_video
from ferplus_keras.progress import progress_bar

DESCRIPTION = """\
Classify the facial expressions in photos and videos.

  python predict.py photo.jpg holiday/ 'more/*.png'
  python predict.py clip.mp4 --save_dir annotated
  python predict.py --webcam

The model that comes with the package is used unless --checkpoint_path names another one."""

CHUNK = 32
"""Pictures whose faces the network sees together; of each, only its faces are kept."""

MANY = 5
"""Pictures from which on progress is shown."""

CROPPED = 300
"""Longest side of a square picture without a face found that may be a face cut out, in pixels."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of predict.py."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.allow_abbrev = False
    add = parser.add_argument
    add(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="picture, video, folder, pattern or rtsp://, http:// … address of a video; - reads "
        "them from standard input",
    )
    add("--checkpoint_path", help=".keras checkpoint or export; default: the bundled model")
    add(
        "--faces",
        choices=list(DETECTORS),
        default="auto",
        help="face detector; auto is yunet, or mtcnn where YuNet's file cannot be had; whole takes "
        "each picture as one face [auto]",
    )
    add("--faces_weights", help="YuNet's file [found, or fetched once]")
    add(
        "--margin",
        type=float,
        default=MARGIN,
        help=f"how much wider than fitted to the face it is cut out, as a share [{MARGIN:g}]",
    )
    add("--tta", choices=list(VIEWS), default="none", help="average over views of a face [none]")
    add("--json", action="store_true", help="print JSON instead of a table")
    add(
        "--csv",
        type=Path,
        help="write a line per face, in videos per face and frame; - writes to standard output",
    )
    add("--submission", type=Path, help="write a file,emotion line per picture")
    add("--save_dir", type=Path, help="folder for annotated copies")
    add = parser.add_argument_group("video").add_argument
    add("--webcam", type=int, nargs="?", const=0, metavar="NUMBER", help="read a camera [0]")
    add("--every", type=int, default=EVERY, help=f"frames from one detection to the next [{EVERY}]")
    add("--seconds", type=float, help="stop after this many seconds of video")


def predict(arguments: argparse.Namespace) -> None:
    """Run predict.py.

    Raises:
        UsageError: wrong arguments.
        InputError: a source cannot be used. Of several the others are finished first.
        KeyboardInterrupt: Ctrl-C; what was done until then is kept.
    """
    tables.escape_output()
    files, copies = _check(arguments)
    predictor = Predictor(
        arguments.checkpoint_path,
        detector=arguments.faces,
        faces_weights=arguments.faces_weights,
        margin=arguments.margin,
        tta=arguments.tta,
    )
    _Job(predictor, arguments, copies).run(files)


def _check(arguments: argparse.Namespace) -> tuple[list[Path | str], dict[Path | str, Path]]:
    """Return the files and where their copies go; refuse wrong arguments before slow work."""
    if not arguments.sources and arguments.webcam is None:
        raise UsageError("expected pictures, videos or folders, or --webcam; see --help")
    if not -0.5 <= arguments.margin <= 2:
        raise UsageError(f"--margin: expected a share from -0.5 to 2, got {arguments.margin}")
    if arguments.every < 1:
        raise UsageError(f"--every: expected 1 frame or more, got {arguments.every}")
    if arguments.seconds is not None and not arguments.seconds > 0:
        raise UsageError(f"--seconds: expected more than 0, got {arguments.seconds}")
    to_output = arguments.csv == tables.STANDARD_OUTPUT
    if to_output and arguments.json:
        raise UsageError("--csv -: expected one of --csv - and --json on standard output")
    files = find_sources(arguments.sources) if arguments.sources else []
    videos = [file for file in files if is_video(file)]
    if arguments.submission and (videos or arguments.webcam is not None):
        raise UsageError(f"--submission: expected pictures only, got {[*videos, 'a camera'][0]}")
    for path in (None if to_output else arguments.csv, arguments.submission):
        if path:
            require_writable(path.parent, "place for the table")
    copies = {}
    if arguments.save_dir:
        copies = copy_paths(files, arguments.save_dir)
        require_writable(arguments.save_dir, "--save_dir")
    return files, copies


class _Job:
    """Predicts files one after the other and writes what was asked for."""

    def __init__(
        self, predictor: Predictor, arguments: argparse.Namespace, copies: dict[Path | str, Path]
    ) -> None:
        self.predictor = predictor
        self.arguments = arguments
        self.copies = copies
        self.to_output = arguments.csv == tables.STANDARD_OUTPUT
        self.add_to_table: tables.AddFaces | None = None
        self.pictures: list[tuple[Path, list[Prediction]]] = []
        self.entries: list[dict] = []
        self.failures: list[str] = []
        self.cropped = 0
        self.stopped: KeyboardInterrupt | None = None

    def run(self, files: Sequence[Path | str]) -> None:
        """Predict the camera, if one was named, and the files."""
        camera = self.arguments.webcam
        with ExitStack() as stack:
            if self.arguments.csv:
                moments = camera is not None or any(map(is_video, files))
                names = self.predictor.class_names
                table = tables.csv_table(self.arguments.csv, names, moments)
                self.add_to_table = stack.enter_context(table)
            try:
                if camera is not None:
                    folder = self.arguments.save_dir
                    self._video(camera, folder and folder / f"camera_{camera}.mp4")
                for video, group in groupby(files, is_video):
                    if not video:
                        self._pictures(list(group))
                    for file in group if video else ():
                        self._video(file, self.copies.get(file))
            except KeyboardInterrupt as stop:
                self.stopped = stop
            if self.arguments.submission:
                tables.write_submission(self.pictures, self.arguments.submission)
        if self.arguments.json:
            print(tables.to_json(self.entries, sys.stdout.encoding or "utf-8"))
        elif self.pictures and not self.to_output:
            print(tables.format_table(self.pictures))
        self._report(len(files) + (camera is not None))

    def _video(self, source: Source, copy: Path | None) -> None:
        if copy:
            copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            summary = predict_video(
                source,
                self.predictor,
                every=self.arguments.every,
                seconds=self.arguments.seconds,
                copy=copy,
                add_to_table=self.add_to_table,
            )
        except InputError as error:
            self._fail(source, error)
            return
        self.entries.append(summary.entry())
        if not self.arguments.json:
            print(summary, file=sys.stderr if self.to_output else sys.stdout)
        if summary.problem:
            self.failures.append(summary.problem)
        if summary.stopped:
            raise summary.stopped

    def _pictures(self, paths: Sequence[Path]) -> None:
        size = 1 if self.copies else CHUNK  # a copy needs the picture, which is large
        many = {"disable": len(paths) < MANY, "desc": "pictures", "unit": " pictures"}
        with progress_bar(total=len(paths), **many) as bar:
            for begin in range(0, len(paths), size):
                found = []
                try:
                    for path in paths[begin : begin + size]:
                        try:
                            picture = read_picture(path)
                        except InputError as error:
                            self._fail(path, error)
                        else:
                            boxes, faces = self.predictor.find(picture)
                            found.append((path, boxes, faces))
                            self.cropped += not boxes and _may_be_a_face(picture)
                        bar.update()
                finally:  # after Ctrl-C too
                    answers = self.predictor.classify([rest for _, *rest in found])
                    for (path, *_), faces in zip(found, answers, strict=True):
                        if self.copies:
                            write_picture(annotate(picture, faces), self.copies[path])
                        self.pictures.append((path, faces))
                        self.entries.append(tables.picture_entry(path, faces))
                        if self.add_to_table:
                            self.add_to_table(path, faces)

    def _fail(self, source: Source, error: InputError) -> None:
        self.failures.append(str(error))
        self.entries.append({"file": shown_name(source), "error": str(error)})

    def _report(self, total: int) -> None:
        """Say what could not be used, one line each."""
        if self.cropped:
            print(
                f"note: no face was found in {self.cropped} small square pictures; if they are "
                "already cropped faces, use --faces whole",
                file=sys.stderr,
            )
        if self.stopped:
            raise self.stopped
        if len(self.failures) == 1:
            raise InputError(self.failures[0])
        if self.failures:
            for failure in self.failures:
                print(f"error: {failure}", file=sys.stderr)
            raise InputError(f"{len(self.failures)} of {total} files could not be used")


def _may_be_a_face(picture: np.ndarray) -> bool:
    height, width = picture.shape[:2]
    return max(height, width) <= CROPPED and 0.75 < width / height < 1.34
