"""What predict.py hands over: a printed table, JSON, CSV, and the old submission format."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from ferplus_keras.files import replacing
from ferplus_keras.inference.predictor import Prediction

Found = Sequence[tuple[Path, Sequence[Prediction]]]
"""Pictures with their faces."""


def format_table(found: Found) -> str:
    """Return one aligned line a face: picture, box, label, confidence, runner-up."""
    lines = [("picture", "x, y, width, height", "expression", "", "next")]
    for path, faces in found:
        if not faces:
            lines.append((str(path), "", "no face found", "", ""))
        for face in faces:
            second = sorted(face.probabilities, key=face.probabilities.get)[-2]
            lines.append(
                (
                    str(path),
                    ", ".join(f"{value:.0f}" for value in face.box),
                    face.label,
                    f"{face.confidence:.1%}",
                    f"{second} {face.probabilities[second]:.1%}",
                )
            )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def to_json(found: Found) -> str:
    """Return [{"file", "faces": [{"box", "label", "confidence", "probabilities"}]}] as JSON."""
    return json.dumps(
        [
            {
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
            for path, faces in found
        ],
        indent=2,
    )


def write_csv(found: Found, class_names: Sequence[str], path: Path) -> None:
    """Write one line a face: file, face (from 0), x, y, width, height, label, probabilities."""
    rows = [
        [
            str(file),
            number,
            *(f"{value:.1f}" for value in face.box),
            face.label,
            *(f"{face.probabilities[name]:.6f}" for name in class_names),
        ]
        for file, faces in found
        for number, face in enumerate(faces)
    ]
    _write(path, ["file", "face", "x", "y", "width", "height", "label", *class_names], rows)


def write_submission(found: Found, path: Path) -> None:
    """Write file and emotion of each picture's most confidently detected face.

    The older projects' submission format; the emotion is empty where no face was found.
    """
    rows = [[str(file), faces[0].label if faces else ""] for file, faces in found]
    _write(path, ["file", "emotion"], rows)


def _write(path: Path, header: list[str], rows: list[list]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
