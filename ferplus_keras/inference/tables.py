"""The output of predict.py: a printed table, JSON, CSV, and the old submission format.

File names that are not UTF-8 keep their bytes (`surrogateescape`). In CSV files, a name that a
spreadsheet would run as a formula, such as `=1.png`, becomes `./=1.png`, which is the same file.
"""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing
from ferplus_keras.inference.predictor import Prediction
from ferplus_keras.inputs import cell
from ferplus_keras.progress import aligned

STANDARD_OUTPUT = Path("-")

Found = Sequence[tuple[Path, Sequence[Prediction]]]
"""Pictures with their faces."""

AddFaces = Callable[..., None]
"""add(file, numbered, moment=None): write one line for each face of a picture or frame.

`numbered` are pairs of a number and a face; `moment` is the frame's number in its video and its
seconds.
"""


class TableError(InputError):
    """A table cannot be written, such as on a full disk: no further picture is worth reading."""


def format_table(found: Found) -> str:
    """Return one aligned line per face: picture, box, label, confidence, runner-up."""
    lines = [("picture", "x, y, width, height", "expression", "", "next")]
    for path, faces in found:
        if not faces:
            lines.append((str(path), "", "no face found", "", ""))
        for face in faces:
            box = ", ".join(f"{value:.0f}" for value in face.box)
            ranked = sorted(face.probabilities.items(), key=lambda item: -item[1])
            second = " ".join(f"{name} {share:.1%}" for name, share in ranked[1:2])
            lines.append((str(path), box, face.label, f"{face.confidence:.1%}", second))
    return aligned(lines)


def picture_entry(path: Path, faces: Sequence[Prediction]) -> dict:
    """Return {"file", "faces": [{"box", "label", "confidence", "probabilities"}]} for JSON."""
    found = [vars(face) | {"box": [round(value, 1) for value in face.box]} for face in faces]
    return {"file": str(path), "faces": found}


def to_json(entries: Sequence[dict], encoding: str = "utf-8") -> str:
    r"""Return what was found as JSON, one entry per file; \u stands for what `encoding` lacks."""
    text = json.dumps(entries, indent=2, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(entries, indent=2)
    return text


@contextmanager
def csv_table(path: Path, class_names: Sequence[str], video: bool = False) -> Iterator[AddFaces]:
    """Yield a function that adds faces to a CSV file, which appears when the block succeeds.

    Its columns: file, face, x, y, width, height, label, a probability per class; after file, with
    `video`, frame and seconds, which are empty for pictures. `STANDARD_OUTPUT` is a path, too.
    """
    moments = ["frame", "seconds"] if video else []
    header = ["file", *moments, "face", "x", "y", "width", "height", "label", *class_names]
    with _writer(path, header) as writer:

        def add(
            file: Path | str,
            numbered: Iterable[tuple[int, Prediction]],
            moment: tuple[int, float] | None = None,
        ) -> None:
            when = [moment[0], f"{moment[1]:.3f}"] if moment else ["" for _ in moments]
            for number, face in numbered:
                box = [f"{value:.1f}" for value in face.box]
                shares = [f"{face.probabilities[name]:.6f}" for name in class_names]
                try:
                    writer.writerow([cell(file), *when, number, *box, face.label, *shares])
                except OSError as error:
                    if path == STANDARD_OUTPUT:
                        raise
                    raise TableError(f"cannot write {path}: {error.strerror}") from None

        yield add


def write_submission(found: Found, path: Path) -> None:
    """Write file and emotion of each picture's most confidently detected face.

    The older projects' submission format; the emotion is empty where no face was found.
    """
    with _writer(path, ["file", "emotion"]) as writer:
        writer.writerows([cell(file), faces[0].label if faces else ""] for file, faces in found)


@contextmanager
def _writer(path: Path, header: Sequence[str]) -> Iterator:
    with ExitStack() as stack:
        file, ending = sys.stdout, "\n"
        if path != STANDARD_OUTPUT:
            temporary = stack.enter_context(replacing(path))
            text = temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape")
            file, ending = stack.enter_context(text), "\r\n"
        writer = csv.writer(file, lineterminator=ending)
        writer.writerow(header)
        yield writer
