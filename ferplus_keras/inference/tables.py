"""What predict.py hands over: a printed table, JSON, CSV, and the old submission format."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ferplus_keras.files import replacing
from ferplus_keras.inference.predictor import Prediction

Found = Sequence[tuple[Path, Sequence[Prediction]]]
"""Pictures with their faces."""

Moment = tuple[int, float]
"""A frame of a video, counted from 0, and its seconds."""


def format_table(found: Found) -> str:
    """Return one aligned line a face: picture, box, label, confidence, runner-up."""
    lines = [("picture", "x, y, width, height", "expression", "", "next")]
    for path, faces in found:
        if not faces:
            lines.append((str(path), "", "no face found", "", ""))
        for face in faces:
            ranked = sorted(face.probabilities, key=face.probabilities.get, reverse=True)
            lines.append(
                (
                    str(path),
                    ", ".join(f"{value:.0f}" for value in face.box),
                    face.label,
                    f"{face.confidence:.1%}",
                    " ".join(f"{name} {face.probabilities[name]:.1%}" for name in ranked[1:2]),
                )
            )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def picture_entry(path: Path, faces: Sequence[Prediction]) -> dict:
    """Return {"file", "faces": [{"box", "label", "confidence", "probabilities"}]} for JSON."""
    return {
        "file": str(path),
        "faces": [
            {
                "box": [round(value, 1) for value in face.box],
                "label": face.label,
                "confidence": face.confidence,
                "probabilities": face.probabilities,
            }
            for face in faces
        ],
    }


def to_json(entries: Sequence[dict]) -> str:
    """Return what was found in pictures and videos as JSON, one entry each."""
    return json.dumps(entries, indent=2, ensure_ascii=False)


AddFaces = Callable[..., None]
"""add(file, faces, numbers=None, moment=None): write one line for each face of a picture or frame.

`numbers` are the faces' own; without them they are counted from 0.
"""


@contextmanager
def csv_table(path: Path, class_names: Sequence[str], video: bool = False) -> Iterator[AddFaces]:
    """Yield a function that adds faces to a CSV file, which appears when the block succeeds.

    Its columns: file, (frame, seconds,) face, x, y, width, height, label, a probability a class.

    Args:
        path: file to write.
        class_names: the classes, in order.
        video: whether it has the columns frame and seconds; they stay empty for pictures.
    """
    moments = ["frame", "seconds"] if video else []
    header = ["file", *moments, "face", "x", "y", "width", "height", "label", *class_names]
    with _writer(path, header) as writer:

        def add(
            file: Path | str,
            faces: Sequence[Prediction],
            numbers: Sequence[int] | None = None,
            moment: Moment | None = None,
        ) -> None:
            when = [moment[0], f"{moment[1]:.3f}"] if moment else ["" for _ in moments]
            for number, face in zip(numbers or range(len(faces)), faces, strict=True):
                box = [f"{value:.1f}" for value in face.box]
                shares = [f"{face.probabilities[name]:.6f}" for name in class_names]
                writer.writerow([str(file), *when, number, *box, face.label, *shares])

        yield add


def write_csv(found: Found, class_names: Sequence[str], path: Path) -> None:
    """Write the faces of pictures as `csv_table` does."""
    with csv_table(path, class_names) as add:
        for file, faces in found:
            add(file, faces)


def write_submission(found: Found, path: Path) -> None:
    """Write file and emotion of each picture's most confidently detected face.

    The older projects' submission format; the emotion is empty where no face was found.
    """
    with _writer(path, ["file", "emotion"]) as writer:
        writer.writerows([str(file), faces[0].label if faces else ""] for file, faces in found)


@contextmanager
def _writer(path: Path, header: Sequence[str]) -> Iterator:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        yield writer
