"""The work of predict.py: every picture and video, one bad file or not, then the results."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

from ferplus_keras.data.face_image import read_picture
from ferplus_keras.errors import InputError
from ferplus_keras.inference import tables
from ferplus_keras.inference.annotate import annotate, write_picture
from ferplus_keras.inference.predictor import Prediction, Predictor
from ferplus_keras.inference.sources import is_video
from ferplus_keras.inference.video import predict_video
from ferplus_keras.progress import progress_bar

CHUNK = 32
"""Pictures whose faces the network sees together; of each, only its faces are kept."""

MANY = 5
"""Pictures from which on progress is shown."""


class Job:
    """Predicts files one after the other and hands over what was asked for.

    Args:
        predictor: what finds and judges the faces.
        arguments: of `command.build_parser`.
        copies: file -> where its annotated copy goes; empty for none.
    """

    def __init__(
        self, predictor: Predictor, arguments: argparse.Namespace, copies: Mapping[Path, Path]
    ) -> None:
        self.predictor = predictor
        self.arguments = arguments
        self.copies = copies
        self.add_to_table: tables.AddFaces | None = None
        self.pictures: list[tuple[Path, list[Prediction]]] = []
        self.entries: list[dict] = []
        self.failures: list[InputError] = []

    def run(self, files: Sequence[Path]) -> None:
        """Predict the camera, if one was named, and the files.

        Raises:
            InputError: one or more cannot be used; the others are finished.
        """
        camera, path = self.arguments.webcam, self.arguments.csv
        with ExitStack() as stack:
            if path:
                moments = camera is not None or any(map(is_video, files))
                table = tables.csv_table(path, self.predictor.class_names, moments)
                self.add_to_table = stack.enter_context(table)
            if camera is not None:
                self._video(camera, self.arguments.save_dir)
            for video, group in groupby(files, is_video):
                if video:
                    for file in group:
                        self._video(file, self.copies.get(file))
                else:
                    self._pictures(list(group))
            if self.arguments.submission:
                tables.write_submission(self.pictures, self.arguments.submission)
        if self.arguments.json:
            print(tables.to_json(self.entries))
        elif self.pictures:
            print(tables.format_table(self.pictures))
        self._report(len(files) + (camera is not None))

    def _video(self, source: int | Path, copy: Path | None) -> None:
        if isinstance(source, int) and copy:
            copy = copy / f"camera_{source}.mp4"
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
            self.failures.append(error)
            return
        self.entries.append(summary.entry())
        if not self.arguments.json:
            print(summary)

    def _pictures(self, paths: Sequence[Path]) -> None:
        size = 1 if self.copies else CHUNK  # a copy needs the picture, which is large
        many = {"disable": len(paths) < MANY, "desc": "pictures", "unit": " pictures"}
        with progress_bar(total=len(paths), **many) as bar:
            for begin in range(0, len(paths), size):
                read, found = [], []
                for path in paths[begin : begin + size]:
                    try:
                        picture = read_picture(path)
                    except InputError as error:
                        self.failures.append(error)
                    else:
                        read.append(path)
                        found.append(self.predictor.find(picture))
                    bar.update()
                for path, faces in zip(read, self.predictor.classify(found), strict=True):
                    if self.copies:
                        write_picture(annotate(picture, faces), self.copies[path])
                    self._add(path, faces)

    def _add(self, path: Path, faces: list[Prediction]) -> None:
        self.pictures.append((path, faces))
        self.entries.append(tables.picture_entry(path, faces))
        if self.add_to_table:
            self.add_to_table(path, faces)

    def _report(self, total: int) -> None:
        """Say what could not be used, one line each."""
        if len(self.failures) == 1:
            raise self.failures[0]
        if self.failures:
            for error in self.failures:
                print(f"error: {error}", file=sys.stderr)
            raise InputError(f"{len(self.failures)} of {total} files could not be used")
