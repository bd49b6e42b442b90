"""The command `export`: checkpoints in another format, kept if it predicts the same on faces."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ferplus_keras.arguments import Number
from ferplus_keras.backend import choose_backend, leaving_out
from ferplus_keras.classifier import Classifier, alike, mean_probabilities, shares
from ferplus_keras.data.augment import VIEWS
from ferplus_keras.data.dataset import open_source
from ferplus_keras.data.sample_faces import draw_rows
from ferplus_keras.errors import InputError, UsageError, as_input_error
from ferplus_keras.extras import require
from ferplus_keras.files import require_writable
from ferplus_keras.formats import FORMATS
from ferplus_keras.lazy import cv2, keras
from ferplus_keras.models.checkpoint import CheckpointInfo, read_info
from ferplus_keras.run import PRECISIONS, Run, default_data_dir, find_checkpoint, require_place
from ferplus_keras.workspace import put_back, workspace

DESCRIPTION = """\
Write a checkpoint in another format and compare its predictions with the checkpoint's.

  python -m ferplus_keras export --checkpoint_path checkpoints/experiment_1 --format onnx

writes model_max_acc.onnx beside the checkpoint. Several checkpoints become one file, which returns
the mean of their probabilities (docs/export.md)."""

ExportFaces = tuple[str, np.ndarray, Callable[[np.ndarray], np.ndarray] | None, np.ndarray]
"""The name of where faces come from; faces, labels and calibration as `export` takes them."""

CALIBRATION = 500  # faces on which int8 measures its ranges
EXPORTS = tuple(name for name, form in FORMATS.items() if form.precisions)  # that can be written

TOLERANCE = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.3, "int8": 1.0}
"""Largest difference of a probability from the checkpoint's that an export may have: ten times the
largest measured. The accuracy shows what int8 costs."""

AGREEMENT = 0.5
"""Smallest share of the faces that must keep their most probable class, also as int8: below it, a
network is broken, not coarse."""

NOISE = (b"fully_quantize:", b"XNNPACK delegate", b"absl::InitializeLog")
"""Parts of lines that converters write to standard error whatever their settings."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of `export`."""
    add = parser.add_argument
    text = "file, or a run folder: its best model; several are averaged"
    add("--checkpoint_path", required=True, nargs="+", metavar="PATH", help=text)
    add("--format", choices=EXPORTS, required=True)
    text = "store weights smaller; bfloat16 (OpenVINO) and int8 also compute faster [float32]"
    add("--quantize", choices=PRECISIONS[1:], help=text)
    add("--output", type=Path, help="what to write [beside the checkpoint, named like it]")
    add("--tta", choices=VIEWS, default="none", help="views that the file averages over [none]")
    text = "data set whose validation faces are compared on "
    add("--data_dir", help=f"{text}[that of the run, $FERPLUS_DATA_DIR, ./data; else drawn faces]")
    add("--rows", type=Number(int, low=1), default=1000, help="faces to compare on [1000]")


def run_command(arguments: argparse.Namespace) -> None:
    """Run `export` and print what was written and how far its predictions differ."""
    named, target = arguments.checkpoint_path, arguments.output
    if not target and (named[1:] or arguments.tta != "none"):
        raise UsageError("expected --output for what is written of several checkpoints or views")
    require_place(named[0], target, "--output")
    checkpoints = [*map(find_checkpoint, named)]
    kind, precision = arguments.format, arguments.quantize or PRECISIONS[0]
    target = target or default_target(checkpoints[0], kind, precision)
    check_export(checkpoints, target, kind, precision)
    first, given = checkpoints[0], arguments.data_dir
    info, run = read_info(first), Run(first.parent)
    folders = [given] if given else [run.data_dir(), default_data_dir()]
    try:
        faces = read_faces(info, folders, arguments.rows, **run.reading())
    except InputError as error:
        if given:
            raise
        print(f"no validation faces ({error}); comparing on drawn ones", file=sys.stderr)
        faces = draw_faces(info, arguments.rows)
    source, *compared = faces
    print(export(checkpoints, target, kind, precision, *compared, tta=arguments.tta))
    print(f"compared on {source}")


def read_faces(
    info: CheckpointInfo, folders: Sequence[str], rows: int, **reading: Any
) -> ExportFaces:
    """Return at most `rows` validation faces, and training faces that are not among them.

    They are evenly spaced over the splits of the first folder that has the checkpoint's data set,
    read with the keywords `reading` of `open_source`.

    Raises:
        InputError: no folder can be used; the message is about the first.
    """
    failures = []
    for folder in folders:
        try:
            source = open_source(folder, **(info.data() | reading))
            split, train = (source.split(k, info.evaluation_rule) for k in ("validation", "train"))
        except InputError as error:
            failures.append(error)
            continue
        split = split.take(_spaced(np.arange(len(split.images)), rows))
        used = train.images[_spaced(np.flatnonzero(~train.leaked), CALIBRATION)]
        name = f"{len(split.images):,} validation faces of {Path(folder)}"
        return name, split.images, split.labels, used
    raise failures[0]


def draw_faces(info: CheckpointInfo, rows: int) -> ExportFaces:
    """Return drawn faces: they show whether an export predicts the same, not how well."""
    size = (info.face_size, info.face_size)
    images, calibration = (
        np.stack([cv2.resize(drawing.pixels, size) for drawing in draw_rows(count, seed)])
        for seed, count in enumerate((rows, CALIBRATION))
    )
    if info.colour:
        images, calibration = (np.stack([grey] * 3, axis=-1) for grey in (images, calibration))
    return f"{rows:,} drawn faces", images, None, calibration


def _spaced(rows: np.ndarray, wanted: int) -> np.ndarray:
    """Return at most `wanted` of some rows, evenly spaced."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), wanted)).round().astype(int)]


class Exported(NamedTuple):
    """An export, and how its predictions differ from its checkpoint's."""

    path: Path
    size: int  # in bytes
    faces: int  # on which both predicted
    difference: float  # largest difference of a probability
    agreement: float  # share of faces with the same most probable class
    accuracy: tuple[float, float] | None  # of checkpoint and export, where labels are known

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
    """Return where an export goes by default: beside its checkpoint."""
    ending = "" if precision == "float32" else f"_{precision}"
    return checkpoint.with_name(checkpoint.stem + ending + FORMATS[kind].suffixes[0])


def check_export(checkpoints: Sequence[Path], target: Path, kind: str, precision: str) -> None:
    """Refuse before any slow work what cannot be exported.

    Raises:
        UsageError: an unknown format, one without that precision, or a target of another kind.
        InputError: a checkpoint cannot be used, a package is missing, or what is there stays.
    """
    form = FORMATS[kind]
    if precision not in form.precisions:
        others = [name for name in EXPORTS if precision in FORMATS[name].precisions]
        instead = f"; choose {' or '.join(others)}" if others else ""
        raise UsageError(f"{kind} has no precision {precision}{instead}")
    require(("keras", "tensorflow"), "exporting")
    for checkpoint in checkpoints:
        if checkpoint.suffix != ".keras":
            raise InputError(f"{checkpoint} is not a .keras file, which is what can be exported")
        read_info(checkpoint)
    suffix = form.suffixes[0]
    wanted = f"a file ending in {suffix}" if suffix else "a folder"
    endings = [ending for other in FORMATS.values() for ending in other.suffixes]
    if target.suffix != suffix and (suffix or target.suffix in endings):
        raise UsageError(f"--output: expected {wanted} for {kind}, got {target}")
    if target.exists() and target.is_dir() == bool(suffix):
        raise InputError(f"expected {target} to be {wanted}; it is not: choose another --output")
    if target.is_dir() and any(target.iterdir()) and not (target / "saved_model.pb").is_file():
        raise InputError(f"the folder {target} does not hold a SavedModel: choose another --output")
    require((*form.modules, *form.runtime), f"exporting to {kind}", extra="export")
    # A new process chooses its backend itself.
    if "keras" in sys.modules and (used := keras.backend.backend()) != "tensorflow":
        raise InputError(
            f"exporting needs Keras on TensorFlow, but it runs on {used} in this process: "
            "use python -m ferplus_keras export"
        )


def export(
    checkpoints: Sequence[Path],
    target: Path,
    kind: str,
    precision: str,
    faces: np.ndarray,
    labels: Callable[[np.ndarray], np.ndarray] | None = None,
    calibration: np.ndarray | None = None,
    tta: str = "none",
) -> Exported:
    """Write checkpoints in another format, run it there, and keep it if it predicts the same.

    Args:
        checkpoints: .keras files, trained on any backend; TensorFlow reads them here. The file has
            the mean probabilities of several, in the order of the first one's classes.
        target: file or folder to write. What is there is replaced once the new one has passed.
        kind, precision: row of `FORMATS` and one of its `precisions`.
        faces: (n, s, s) uint8 to compare on.
        labels: from probabilities (n, C) to the true class of each face, (n,) int, as
            `Split.labels`; None where not known.
        calibration: (m, s, s) uint8 on which int8 measures its ranges; other faces than `faces`.
        tta: row of `augment.VIEWS`, over which the file averages, too.

    Raises:
        UsageError, InputError: as `check_export`; or the export predicts differently or cannot be
            written. Then the target is as it was and nothing is left behind.
    """
    target = Path(os.path.realpath(target)) if target.is_symlink() else target
    check_export(checkpoints, target, kind, precision)
    if precision == "int8" and calibration is None:
        raise UsageError("int8 needs faces to measure its ranges on")
    require_writable(target.parent, "--output")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    choose_backend(num_gpus=0)
    with Run(target.parent).writing(), workspace(target.parent) as work:
        members = alike([Classifier.open(path) for path in checkpoints])
        # First, because Keras exports only what has been called.
        answers = [each.probabilities(faces, tta=tta, name="checkpoint") for each in members]
        expected = mean_probabilities([*map(shares, answers)] if answers[1:] else answers)
        name = " + ".join(each.info.model_name for each in members)
        name += f" ({tta})" if tta != "none" else ""
        made = work / "new" / target.name
        for folder in ("new", "old"):
            (work / folder).mkdir()
        info = replace(members[0].info, model_name=name)
        what = f"a {name} cannot be exported to {kind} as {precision}"
        with leaving_out(*NOISE):
            with as_input_error(what, Exception, but=(MemoryError,)):
                FORMATS[kind].write(exportable(members, tta), info, made, precision, calibration)
            exported = replace(Classifier.open(made), path=target)
        found = exported.probabilities(faces, name=kind)
        difference = float(np.abs(found - expected).max())
        agreement = float(np.mean(found.argmax(axis=1) == expected.argmax(axis=1)))
        if not difference <= TOLERANCE[precision] or agreement < AGREEMENT:
            raise InputError(
                f"the {kind} export as {precision} predicts differently: probabilities differ "
                f"by up to {difference:.3g} (allowed {TOLERANCE[precision]:g}), "
                f"{agreement:.0%} of the faces keep their class (at least {AGREEMENT:.0%}); "
                "nothing was written"
            )
        size = sum(file.stat().st_size for file in (work / "new").rglob("*") if file.is_file())
        _put(work, target.parent)
    pair = (expected, found)
    accuracy = labels and tuple(float(np.mean(x.argmax(axis=1) == labels(x))) for x in pair)
    return Exported(target, size, len(faces), difference, agreement, accuracy)


def exportable(members: Sequence[Classifier], tta: str = "none") -> keras.Model:
    """Return one network from uint8 faces to the mean of the members' probabilities over views.

    A single network of `build_model` is returned as it is. Any other one is in inference mode:
    Keras exports augmentation, such as RandomFlip, as in training.
    """
    from ferplus_keras.models.layers import FacePreprocessing

    ops, first = keras.ops, members[0].network
    plain = not members[1:] and tta == "none"
    if plain and any(isinstance(layer, FacePreprocessing) for layer in first.layers):
        return first
    faces = inputs = keras.Input(first.input_shape[1:], dtype="uint8", name="faces")
    views = 1
    if tta != "none":  # each view takes its pixels from those of the face, wherever they are there
        shape = faces.shape[1:]
        places = [of[0].ravel() for of in VIEWS[tta](np.arange(np.prod(shape)).reshape(1, *shape))]
        flat, views = ops.reshape(faces, (-1, len(places[0]))), len(places)
        inputs = ops.concatenate([ops.take(flat, of, axis=1) for of in places])
        inputs = ops.reshape(inputs, (-1, *shape))
    answers = []
    for number, member in enumerate(members):
        given, answer = member.network.inputs, member.network.outputs[0]
        renamed = keras.Model(given, answer, name=f"member_{number}")  # two of a name clash
        found = renamed(inputs, training=False)
        found = ops.mean(ops.reshape(found, (views, -1, found.shape[1])), axis=0)
        found = ops.take(found, np.array(member.columns), axis=1)
        answers.append(found / ops.sum(found, axis=1, keepdims=True) if members[1:] else found)
    around = keras.Model(faces, ops.mean(ops.stack(answers), axis=0), name=first.name)
    around.predict_on_batch(np.zeros((1, *faces.shape[1:]), np.uint8))  # else Keras exports nothing
    return around


def _put(work: Path, folder: Path) -> None:
    """Move all that is in work/new into `folder`, or nothing; what it replaces goes to work/old."""
    new, old = work / "new", work / "old"
    names = sorted(path.name for path in new.iterdir())
    try:
        for name in names:
            if (folder / name).exists():
                os.replace(folder / name, old / name)
            os.replace(new / name, folder / name)
    except BaseException as error:
        for moved in names:
            if not (new / moved).exists():
                os.replace(folder / moved, new / moved)
        put_back(work, folder)
        if not isinstance(error, OSError):  # Ctrl-C
            raise
        raise InputError(f"cannot write {folder / name}: {error.strerror}") from error
