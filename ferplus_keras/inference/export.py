"""Export a checkpoint for other runtimes, and prove on faces that it still answers alike."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.backend import choose_backend, leaving_out, load_keras
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.extras import require
from ferplus_keras.files import require_writable
from ferplus_keras.inference.formats import FORMATS, find_format
from ferplus_keras.inference.runtimes import RUNTIMES, load_classifier
from ferplus_keras.models.checkpoint import load_checkpoint, read_info
from ferplus_keras.progress import progress_bar

TOLERANCE = {"float32": 1e-4, "float16": 0.02, "int8": 1.0}
"""Largest difference of a probability from the checkpoint's that an export may have: ten times what
was seen of any network; what int8 costs is told by its accuracy."""

AGREEMENT = 0.5
"""Least share of the faces that must keep their most probable class, also as int8: with less, a
network is broken, not coarse."""

NOISE = (b"fully_quantize:", b"XNNPACK delegate", b"absl::InitializeLog")
"""Parts of the lines that converters write to standard error whatever they are told."""


class Exported(NamedTuple):
    """What became of an export.

    Attributes:
        path: the file or folder.
        size: bytes of it.
        faces: number of faces on which it was compared.
        difference: largest difference of a probability.
        agreement: share of faces with the same most probable class.
        accuracy: (checkpoint's, export's) where labels are known, else None.
    """

    path: Path
    size: int
    faces: int
    difference: float
    agreement: float
    accuracy: tuple[float, float] | None

    def __str__(self) -> str:
        text = (
            f"{self.path}: {self.size / 1e6:.2f} MB\n"
            f"largest difference of a probability {self.difference:.1e}; "
            f"{self.agreement:.2%} of {self.faces:,} faces keep their class"
        )
        if self.accuracy:
            before, after = self.accuracy
            text += f"\naccuracy {before:.2%} -> {after:.2%} ({100 * (after - before):+.2f} points)"
        return text


def default_target(checkpoint: Path, kind: str, precision: str) -> Path:
    """Return where an export goes unless told otherwise: beside its checkpoint."""
    ending = "" if precision == "float32" else f"_{precision}"
    return checkpoint.with_name(checkpoint.stem + ending + find_format(kind).suffix)


def check_export(checkpoint: Path, target: Path, kind: str, precision: str) -> None:
    """Refuse at once what cannot be exported so.

    Raises:
        UsageError: an unknown format, one without that precision, or a target of another kind.
        InputError: the checkpoint cannot be used, a package is missing, or what lies at the target
            is not replaced.
    """
    form = find_format(kind)
    if precision not in form.precisions:
        others = [name for name, row in FORMATS.items() if precision in row.precisions]
        instead = f"; choose {' or '.join(others)}" if others else ""
        raise UsageError(f"{kind} has no precision {precision}{instead}")
    read_info(checkpoint)
    wanted = f"a file ending in {form.suffix}" if form.suffix else "a folder"
    if target.suffix != form.suffix and (form.suffix or target.suffix in RUNTIMES):
        raise UsageError(f"--output: expected {wanted} for {kind}, got {target}")
    if target.resolve() == checkpoint.resolve():
        raise UsageError(f"--output {target} is the checkpoint itself; name {wanted}")
    if target.exists() and target.is_dir() == bool(form.suffix):
        raise InputError(f"expected {target} to be {wanted}; it is not: choose another --output")
    if target.is_dir() and any(target.iterdir()) and not (target / "saved_model.pb").is_file():
        raise InputError(
            f"the folder {target} holds something else than a SavedModel: choose another --output"
        )
    require(("keras", "tensorflow"), "exporting")
    require(form.modules, f"exporting to {kind}", extra="export")
    _require_tensorflow_backend()


def export(
    checkpoint: Path,
    target: Path,
    kind: str,
    precision: str,
    faces: np.ndarray,
    labels: np.ndarray | None = None,
    calibration: np.ndarray | None = None,
) -> Exported:
    """Write a checkpoint in another format, run it there, and keep it if it answers alike.

    Args:
        checkpoint: .keras file, trained on whatever backend; read by TensorFlow here.
        target: file or folder to write. What is there is replaced once the new one has passed.
        kind: row of `formats.FORMATS`.
        precision: one of `formats.PRECISIONS`.
        faces: (n, 48, 48) uint8 to compare on.
        labels: (n,) int, index of the true class, where known.
        calibration: (m, 48, 48) uint8 on which int8 measures its ranges; other faces than `faces`.

    Raises:
        UsageError, InputError: as `check_export`; or the export answers differently or cannot be
            written. Then the target is as it was and nothing is left behind.
    """
    check_export(checkpoint, target, kind, precision)
    if precision == "int8" and calibration is None:
        raise UsageError("int8 needs faces to measure its ranges on")
    require_writable(target.parent, "--output")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    choose_backend(num_gpus=0)
    load_keras()
    model, info = load_checkpoint(checkpoint)
    # First, for Keras exports only what has been called.
    expected = _answers(model.predict_on_batch, faces, "checkpoint")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
        made = Path(folder) / "new" / target.name
        made.parent.mkdir()
        with leaving_out(*NOISE):
            _write(kind, model, info, made, precision, calibration)
            probabilities = load_classifier(made).probabilities
            probabilities(faces[:1])  # some runtimes say a word at their first batch
        found = _answers(probabilities, faces, kind)
        difference, agreement = _compare(found, expected, kind, precision)
        _put(made.parent, target.parent, Path(folder) / "old")
    return Exported(
        target,
        sum(_size(path) for path in (target, *_beside(target, kind))),
        len(faces),
        difference,
        agreement,
        None
        if labels is None
        else tuple(float(np.mean(x.argmax(axis=1) == labels)) for x in (expected, found)),
    )


def _require_tensorflow_backend() -> None:
    """Refuse a process whose Keras runs on something else already; a new one chooses itself."""
    if "keras" in sys.modules:
        from keras.backend import backend

        if backend() != "tensorflow":
            raise InputError(
                f"exporting needs Keras on TensorFlow, but it runs on {backend()} in this process: "
                "use python -m ferplus_keras export"
            )


def _write(kind, model, info, made: Path, precision: str, calibration) -> None:
    try:
        FORMATS[kind].write(model, info, made, precision, calibration)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # each converter has its own kinds
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"a {info.model_name} cannot be exported to {kind} as {precision}: {reason}"
        ) from error


def _answers(
    probabilities: Callable[[np.ndarray], np.ndarray],
    faces: np.ndarray,
    name: str,
    batch_size: int = 64,
) -> np.ndarray:
    found = []
    with progress_bar(total=len(faces), desc=name, unit=" faces") as bar:
        for begin in range(0, len(faces), batch_size):
            found.append(np.asarray(probabilities(faces[begin : begin + batch_size])))
            bar.update(len(found[-1]))
    return np.concatenate(found)


def _compare(
    found: np.ndarray, expected: np.ndarray, kind: str, precision: str
) -> tuple[float, float]:
    """Return the largest difference and the share of faces that keep their class.

    Raises:
        InputError: an answer is no number, or they are too different.
    """
    difference = float(np.abs(found - expected).max())
    agreement = float(np.mean(found.argmax(axis=1) == expected.argmax(axis=1)))
    if not difference <= TOLERANCE[precision] or agreement < AGREEMENT:
        raise InputError(
            f"the {kind} export as {precision} answers differently: probabilities differ by up to "
            f"{difference:.3g} (allowed {TOLERANCE[precision]:g}), {agreement:.0%} of the faces "
            f"keep their class (at least {AGREEMENT:.0%}); nothing was written"
        )
    return difference, agreement


def _put(new: Path, folder: Path, old: Path) -> None:
    """Move all that is in `new` into `folder`, or nothing; what it replaces goes to `old`."""
    old.mkdir()
    moved: list[Path] = []
    try:
        for path in sorted(new.iterdir()):
            target = folder / path.name
            if target.exists():
                os.replace(target, old / path.name)
            moved.append(target)
            os.replace(path, target)
    except OSError as error:
        for target in moved:
            if target.exists():
                os.replace(target, new / target.name)
            if (old / target.name).exists():
                os.replace(old / target.name, target)
        raise InputError(f"cannot write {target}: {error.strerror}") from error


def _beside(target: Path, kind: str) -> list[Path]:
    return [target.with_suffix(suffix) for suffix in FORMATS[kind].beside]


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
