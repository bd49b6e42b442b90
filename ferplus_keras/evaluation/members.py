"""The networks that are judged: one checkpoint, or several whose answers are averaged."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ferplus_keras.data.views import VIEWS
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.files import sha256
from ferplus_keras.models.checkpoint import CheckpointInfo, load_checkpoint
from ferplus_keras.progress import progress_bar
from ferplus_keras.training.run_folder import MAX_ACCURACY

if TYPE_CHECKING:
    import keras

AVERAGES = ("probabilities", "logits")
"""What views and members are averaged over."""

OF_OLDER_PROJECT = (".h5", ".hdf5")
"""Endings of whole models that the older project saved."""


@dataclass(frozen=True)
class Member:
    """One network with what is known of it.

    Attributes:
        path: its file.
        model: from faces (b, 48, 48) uint8 to probabilities (b, C) float32.
        info: what its checkpoint says.
        order: column of its output for each class of the evaluation.
    """

    path: Path
    model: keras.Model
    info: CheckpointInfo
    order: tuple[int, ...]

    def describe(self) -> dict:
        """Return what a report says of it, JSON-ready."""
        return {
            "checkpoint": str(self.path),
            "checkpoint_sha256": sha256(self.path),
            "model": self.info.model_name,
            "image_size": self.info.image_size,
            "epoch": self.info.epoch,
            "trained_with": {
                "dataset_name": self.info.dataset_name,
                "label_rule": self.info.label_rule,
            },
        }


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint at `path`: the file, or a run folder's best model.

    Raises:
        InputError: there is no such file.
    """
    if path.is_dir():
        path = path / MAX_ACCURACY
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}")
    return path


def class_order(info: CheckpointInfo, class_names: Sequence[str], path: Path) -> tuple[int, ...]:
    """Return the column of a checkpoint's output for each class of the evaluation.

    Raises:
        InputError: its classes are not the same ones.
    """
    if sorted(info.class_names) != sorted(class_names):
        raise InputError(
            f"{path} has {len(info.class_names)} classes ({', '.join(info.class_names)}), "
            f"the data {len(class_names)} ({', '.join(class_names)}); "
            f"it was trained on --dataset_name {info.dataset_name}"
        )
    return tuple(info.class_names.index(name) for name in class_names)


def load_member(
    path: Path,
    class_names: Sequence[str],
    model_name: str | None = None,
    image_size: int | None = None,
) -> Member:
    """Load a checkpoint, or an .hdf5 file of the older project, whose rule was `majority`.

    Args:
        path: the file.
        class_names: classes of the evaluation, in its order.
        model_name: network of an .hdf5 file when its layers do not tell.
        image_size: input side of an .hdf5 file; None takes what it records.

    Raises:
        InputError: the file cannot be used, or its classes are others.
    """
    if path.suffix not in OF_OLDER_PROJECT:
        model, info = load_checkpoint(path)
        return Member(path, model, info, class_order(info, class_names, path))
    from ferplus_keras.models.legacy import load_full_model

    model, name = load_full_model(path, model_name, image_size)
    classes = model.output_shape[-1]
    if classes != len(class_names):
        raise InputError(
            f"{path} has {classes} classes, the data {len(class_names)} "
            f"({', '.join(class_names)}); choose another --dataset_name"
        )
    size = model.get_layer("preprocessing").image_size
    info = CheckpointInfo(name, size, tuple(class_names), "unknown", "unknown", "majority")
    return Member(path, model, info, tuple(range(classes)))


def predict(
    member: Member,
    images: np.ndarray,
    *,
    batch_size: int = 64,
    tta: str = "none",
    average: str = "probabilities",
    name: str = "",
) -> tuple[np.ndarray, float]:
    """Return probabilities of faces, and the seconds that the network itself took.

    Args:
        member: the network.
        images: (n, 48, 48) uint8.
        batch_size: faces a batch; does not change the result.
        tta: row of `views.VIEWS`, whose views are averaged.
        average: one of `AVERAGES`.
        name: shown beside the progress bar.

    Returns:
        (n, C) float32 in the evaluation's class order, and seconds.

    Raises:
        InputError: a probability is not a number.
    """
    found, seconds = [], 0.0
    with progress_bar(total=len(images), desc=name, unit=" images") as bar:
        for begin in range(0, len(images), batch_size):
            batch = images[begin : begin + batch_size]
            views = VIEWS[tta](batch)
            started = time.perf_counter()
            answers = [np.asarray(member.model.predict_on_batch(view)) for view in views]
            seconds += time.perf_counter() - started
            found.append(mean_answer(answers, average))
            bar.update(len(batch))
    probabilities = np.concatenate(found)[:, list(member.order)]
    broken = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
    if broken.size:
        raise InputError(
            f"{member.path} returns no number for {broken.size} of {len(images)} faces of {name}; "
            "its weights are broken"
        )
    return probabilities, seconds


def mean_answer(answers: Sequence[np.ndarray], average: str) -> np.ndarray:
    """Return the mean of several (n, C) probabilities as float32.

    Args:
        answers: probabilities of members or views.
        average: "probabilities", or "logits": the logarithms are averaged, up to each row's
            constant, and made probabilities again.

    Raises:
        UsageError: an unknown average.
    """
    if average not in AVERAGES:
        raise UsageError(f"expected an average of {' or '.join(AVERAGES)}, got '{average}'")
    if len(answers) == 1:
        return answers[0].astype(np.float32)
    stacked = np.stack(answers).astype(np.float64)
    if average == "probabilities":
        return stacked.mean(axis=0).astype(np.float32)
    logs = np.log(np.maximum(stacked, 1e-12)).mean(axis=0)
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
