"""Any trained network behind one face: probabilities of faces, whatever file it comes from."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ferplus_keras.data.augment import VIEWS
from ferplus_keras.data.cache import FacesOnDisk
from ferplus_keras.data.dataset import DATASETS
from ferplus_keras.emotions import FERPLUS_CLASSES, check_class_names, places_in
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.formats import Predict, digest, one_at_a_time, open_network
from ferplus_keras.hardware import announce
from ferplus_keras.lazy import keras
from ferplus_keras.models.checkpoint import CheckpointInfo, save_checkpoint
from ferplus_keras.progress import progress_bar
from ferplus_keras.run import find_checkpoint

AVERAGES = ("probabilities", "logits")
"""What views and the members of an ensemble are averaged over."""


@dataclass(eq=False)
class Classifier:
    """A trained network: faces in, float32 probabilities out.

    Attributes:
        info: what the file says of itself; `info.class_names` names its outputs.
        run: from faces (b, *face_shape) uint8 to (b, C) probabilities; thread-safe.
        path: its file; None for a network from memory.
        network: the Keras network behind it, for gradients and fine-tuning; None for an export.
        columns: output column of each class, in the order of `class_names`.
        seconds: time that the network itself has taken so far.
    """

    info: CheckpointInfo
    run: Predict
    path: Path | None = None
    network: keras.Model | None = None
    columns: tuple[int, ...] | None = None
    seconds: float = 0.0

    @classmethod
    def open(
        cls, path: str | Path, *, model_name: str | None = None, image_size: int | None = None
    ) -> Classifier:
        """Open a run folder's most accurate model, or a file of any format in `FORMATS`.

        Args:
            path: the file or folder.
            model_name: network of an .hdf5 file that its layers do not identify.
            image_size: input side of an .hdf5 file; None takes what it records.

        Raises:
            InputError: the file or its runtime is missing, or it is damaged or without class names.
        """
        path = find_checkpoint(path)
        opened = open_network(path, model_name=model_name, image_size=image_size)
        return cls(opened.info, opened.run, path, opened.network)

    @classmethod
    def from_model(cls, model: keras.Model, class_names: Sequence[str]) -> Classifier:
        """Return the classifier of any Keras model in memory, whose outputs are `class_names`.

        The data set on which files of it are evaluated is the one with these classes, else Folder.

        Args:
            model: takes faces of one size, (b, s, s), (b, s, s, 1) or RGB (b, s, s, 3), as uint8 or
                float, with values from 0 to 255; returns (b, C) probabilities.
            class_names: C names.

        Raises:
            InputError: the model has inputs or outputs of other shapes.
        """
        shapes = [getattr(model, name, None) for name in ("input_shape", "output_shape")]
        face, answer = (tuple(shape or ())[1:] for shape in shapes)
        side = face[0] if face else None
        square = face in ((side, side), (side, side, 1), (side, side, 3))
        if not square or not isinstance(side, int) or answer != (len(class_names),):
            raise InputError(
                f"expected a model from faces (n, s, s) or (n, s, s, 3) to {len(class_names)} "
                f"probabilities, one for each class; got one from {shapes[0]} to {shapes[1]} (of a "
                "subclassed model, use Classifier.from_function(model.predict_on_batch, …))"
            )
        info = _own_info(model.name, class_names, side, colour=face[2:] == (3,))
        if face[2:] == (1,):
            faces = keras.Input((side, side), dtype="uint8")
            grey = keras.layers.Reshape((side, side, 1))(faces)
            model = keras.Model(faces, model(grey), name=model.name)
        from ferplus_keras.formats.keras import predictor

        return cls(info, predictor(model), network=model)

    @classmethod
    def from_function(
        cls, run: Predict, class_names: Sequence[str], face_size: int = 48, colour: bool = False
    ) -> Classifier:
        """Return the classifier of any function: another framework's network, a mean of several.

        Args:
            run: from faces (b, s, s) or RGB (b, s, s, 3), uint8, to (b, C) probabilities.
            class_names: C names.
            face_size: s.
            colour: whether the faces are RGB.

        Raises:
            InputError: the function returns something else for two black faces.
        """
        info = _own_info("function", class_names, face_size, colour)
        got = np.shape(run(np.zeros((2, *info.face_shape), np.uint8)))
        if got != (2, len(class_names)):
            raise InputError(
                f"expected a function from faces (n, {', '.join(map(str, info.face_shape))}) to "
                f"probabilities (n, {len(class_names)}); it returned {got} for two faces"
            )
        return cls(info, one_at_a_time(run, forks=True))

    def save(self, path: str | Path) -> None:
        """Write the Keras network and its class names to a .keras file.

        Every command takes it, and `keras.models.load_model` opens it.

        Raises:
            InputError: no Keras network is behind the classifier, the name does not end in .keras,
                or the file cannot be written; or as `named`.
        """
        if self.network is None:
            advice = ": copy the file instead" if self.path else ""
            raise InputError(f"{self.path or 'a function'} is no Keras network{advice}")
        if Path(path).suffix != ".keras":
            raise InputError(f"expected a file ending in .keras, got {path}")
        save_checkpoint(self.network, Path(path), self.named().info)

    def __reduce__(self):
        """Pickle the path, from which the copy opens its file again, or else the Keras model."""
        if self.path is None and self.network is None:
            raise TypeError("a classifier without a file or a Keras model cannot be pickled")
        info, path = self.info, self.path
        if path is None:
            reopen = partial(Classifier.from_model, self.network, info.class_names)
        else:
            shape = {"model_name": info.model_name, "image_size": info.image_size}
            reopen = partial(Classifier.open, path.absolute(), **shape)
        return reopen, (), {"info": info, "columns": self.columns}

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        names = self.info.class_names
        return names if self.columns is None else tuple(names[i] for i in self.columns)

    @property
    def face_size(self) -> int:
        """Side in pixels of the faces that it takes."""
        return self.info.face_size

    @property
    def colour(self) -> bool:
        """Whether it takes RGB faces rather than grey ones."""
        return self.info.colour

    @property
    def face_shape(self) -> tuple[int, ...]:
        """Shape of a face that it takes: (s, s) grey levels, or (s, s, 3) RGB."""
        return self.info.face_shape

    def named(self) -> Classifier:
        """Return the classifier with class names: FER+'s for an .hdf5 file, which has none.

        Raises:
            InputError: such a file has another number of classes than FER+.
        """
        if self.class_names:
            return self
        count, wanted = self.network.output_shape[-1], len(FERPLUS_CLASSES)
        if count != wanted:
            raise InputError(
                f"{self.path} does not name its {count} classes; expected the {wanted} of FER+"
            )
        info = replace(self.info, dataset_name="FERPlus", class_names=FERPLUS_CLASSES)
        return replace(self, info=info)

    def arranged(self, class_names: Sequence[str]) -> Classifier:
        """Return the classifier with its probabilities in the order of `class_names`.

        Raises:
            InputError: its classes are not the same ones.
        """
        known = self.info.class_names
        if (columns := places_in(known, class_names)) is not None:
            return replace(self, columns=columns)
        own = f"{len(known)} ({', '.join(known)})"
        advice = f"it was trained on --dataset_name {self.info.dataset_name}"
        if not known and self.network is not None:  # an .hdf5 file does not name its classes
            count = self.network.output_shape[-1]
            if count == len(class_names):
                return replace(self, info=replace(self.info, class_names=tuple(class_names)))
            own, advice = f"{count}", "choose another --dataset_name"
        wanted = f"{len(class_names)} classes ({', '.join(class_names)})"
        raise InputError(f"expected {wanted}, but {self.path} has {own}; {advice}")

    def probabilities(
        self,
        faces: np.ndarray,
        *,
        batch_size: int = 64,
        tta: str = "none",
        average: str = "probabilities",
        name: str | None = None,
    ) -> np.ndarray:
        """Return (n, C) float32 probabilities of faces, in the order of `class_names`.

        Args:
            faces: (n, *face_shape) uint8; or k crops of each, (n, k, *face_shape), to average.
            batch_size: faces per batch; does not change the result.
            tta: row of `augment.VIEWS`, whose views are averaged.
            average: one of `AVERAGES`.
            name: shown beside a progress bar; None shows no bar.

        Raises:
            UsageError: `batch_size` is below 1.
            InputError: the faces have another shape or type, or an answer is no probability.
        """
        if batch_size < 1:
            raise UsageError(f"expected a batch_size of at least 1, got {batch_size}")
        faces = faces if isinstance(faces, FacesOnDisk) else np.asarray(faces)
        axes = faces.ndim - len(self.face_shape)
        if faces.dtype != np.uint8 or axes not in (1, 2) or faces.shape[axes:] != self.face_shape:
            wanted = ", ".join(map(str, self.face_shape))
            where = f"{self.path}: " if self.path else ""
            raise InputError(
                f"{where}expected faces (n, {wanted}) uint8, got {faces.shape} {faces.dtype}"
            )
        crops = [faces] if axes == 1 else faces.swapaxes(0, 1)
        columns = slice(None) if self.columns is None else list(self.columns)
        found = np.empty((len(faces), len(self.class_names)), np.float32)

        def begin() -> Iterator[tuple[slice, list[ArrayLike]]]:
            for first in range(0, len(faces), batch_size):
                rows = slice(first, min(first + batch_size, len(faces)))
                views = [view for crop in crops for view in VIEWS[tta](crop[rows])]
                # A short last batch is filled up: a new shape would be compiled again.
                filled = np.arange(min(len(faces), batch_size)).clip(max=rows.stop - first - 1)
                started = time.perf_counter()
                answers = [self.run(view[filled]) for view in views]
                self.seconds += time.perf_counter() - started
                yield rows, answers

        with progress_bar(total=len(faces), desc=name, unit=" images", disable=name is None) as bar:
            # Each batch is begun before the one ahead of it is waited for.
            for (rows, answers), _ in pairwise(chain(begin(), [None])):
                started, count = time.perf_counter(), rows.stop - rows.start
                predictions = [np.asarray(answer)[:count] for answer in answers]
                self.seconds += time.perf_counter() - started
                found[rows] = mean_probabilities(predictions, average)[:, columns]
                bar.update(count)
        broken = np.count_nonzero(~((found > -1e-3) & (found < 1.001)).all(axis=1))  # or not finite
        if broken:
            raise InputError(
                f"{self.path or 'the network'} returns no probabilities for {broken} of "
                f"{len(faces)} faces{f' of {name}' if name else ''}: its weights are broken, or it "
                "lacks a softmax in its last layer"
            )
        return found

    def announce(self, doing: str) -> None:
        """Say on standard error where it computes, such as "evaluating on 2 processor cores"."""
        announce(doing, on_keras=self.network is not None)

    def describe(self) -> dict[str, Any]:
        """Return what a report says of the classifier, JSON-ready."""
        info, path = self.info, self.path
        return {
            "checkpoint": path and str(path),
            "checkpoint_sha256": digest(path) if path and path.exists() else None,
            "model": info.model_name,
            "image_size": info.image_size,
            "epoch": info.epoch,
            "trained_with": {"dataset_name": info.dataset_name, "label_rule": info.label_rule},
        }


def _own_info(name: str, classes: Sequence[str], side: int, colour: bool) -> CheckpointInfo:
    """Return what is known of a network from elsewhere, evaluated where its classes are known."""
    classes = tuple(map(str, classes))
    check_class_names(classes, "class_names")
    known = (of for of in DATASETS.values() if sorted(of.class_names) == sorted(classes))
    of = next(known, DATASETS["Folder"])
    rule = of.rule("majority").name
    return CheckpointInfo(
        name, side, classes, of.name, "unknown", rule, face_size=side, colour=colour
    )


def alike(
    members: Sequence[Classifier], class_names: Sequence[str] | None = None
) -> list[Classifier]:
    """Return an ensemble's members, all with `class_names`, or with the classes of the first one.

    Raises:
        InputError: they have other classes, or need different faces.
    """
    first = members[0]
    found = [member.arranged(class_names or first.class_names) for member in members]
    for member in found:
        if member.face_shape != first.face_shape:
            takes = (f"{one.path} takes {one.face_shape}" for one in (first, member))
            raise InputError(f"the members of an ensemble need the same faces: {', '.join(takes)}")
    return found


def shares(answers: np.ndarray) -> np.ndarray:
    """Return (n, C) answers divided by their sums if they are a sigmoid's, as losses take them."""
    sums = answers.sum(axis=1, keepdims=True)
    if np.allclose(sums, 1, atol=1e-3):  # a softmax's
        return answers
    return answers / np.maximum(sums, np.finfo(np.float32).tiny)


def mean_probabilities(
    predictions: Sequence[np.ndarray], average: str = "probabilities"
) -> np.ndarray:
    """Return the mean of several (n, C) probabilities, of views or of an ensemble, as float32.

    Averaged "logits" are the mean logarithms, up to each row's constant, as probabilities again.

    Raises:
        UsageError: an unknown average.
    """
    if average not in AVERAGES:
        raise UsageError(f"expected an average of {' or '.join(AVERAGES)}, got '{average}'")
    if len(predictions) == 1:
        return predictions[0].astype(np.float32)
    stacked = np.stack(predictions).astype(np.float64)
    if average == "probabilities":
        return stacked.mean(axis=0).astype(np.float32)
    logs = np.log(np.maximum(stacked, 1e-12)).mean(axis=0)
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
