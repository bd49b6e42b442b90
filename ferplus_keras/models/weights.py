"""Load a file of weights by layer name, all of it or nothing.

Keras' own `load_weights(by_name=True)` silently skips every layer whose name differs. Here each
backbone layer must be in the file with the same shapes, and the file may hold nothing else than
layers known to be left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import h5py
import keras
import numpy as np

from ferplus_keras.emotions import places_in
from ferplus_keras.errors import InputError
from ferplus_keras.files import sha256
from ferplus_keras.models import dlib_files
from ferplus_keras.models.checkpoint import load_keras_file, require_finite
from ferplus_keras.models.freeze import numbered_layers
from ferplus_keras.models.hdf5 import keras2_layers, open_hdf5, vit_layers
from ferplus_keras.models.info import info_from_zip
from ferplus_keras.models.layers import HEAD

if TYPE_CHECKING:
    from ferplus_keras.models.registry import ModelSpec

Layers = Mapping[str, Mapping[str, h5py.Dataset | np.ndarray]]
"""Layer name (spelt as here) -> variable name, such as `kernel`, or `query/kernel` in a layer of
layers -> values."""


class LoadedWeights(NamedTuple):
    """What was loaded from a weights file."""

    path: Path
    sha256: str
    layers: int  # that got their weights from it, the head included
    left_out: tuple[str, ...]  # layers of the file: its top, or a head of another size
    head: bool  # whether the classification head was loaded too
    affine: bool = False  # BatchNormalization layers have no statistics until `calibrate` ran

    def __str__(self) -> str:
        left_out = f"; left out: {', '.join(self.left_out)}" if self.left_out else ""
        head = "head included" if self.head else "new head"
        return f"{self.layers} layers from {self.path} ({head}{left_out})"


def load_weights(
    model: keras.Model,
    source_path: str | os.PathLike,
    spec: ModelSpec,
    class_names: Sequence[str] = (),
) -> LoadedWeights:
    """Load a backbone, and the head where it fits, by layer name, once everything is checked.

    Args:
        model: a network of `build_model`, changed in place.
        source_path: a Keras 2 weights file with or without its top; a whole model saved by the
            older project (.hdf5), also inside a multi-GPU wrapper; a .keras file of this project;
            the weights of a ViT backbone of keras-hub (.weights.h5); dlib's face-recognition
            network (.dat, or face-api's .bin or .json).
        spec: the network's specification.
        class_names: the classes of the network's outputs, where they are known.

    Returns:
        What was loaded. A head of other shapes or classes is left out and listed as such.

    Raises:
        InputError: the file is missing or damaged, or its layers are not exactly the backbone's.
    """
    path = Path(source_path)
    targets = _weighted(model)
    places = _places(path, class_names)
    with open_layers(path) as stored:
        ignored = set(spec.top_layers)
        head_fits = HEAD in stored and not _misfits({HEAD: targets[HEAD]}, stored)
        if head_fits and places is not None:
            head_fits = bool(places)
            stored = stored | {HEAD: {k: v[..., list(places)] for k, v in stored[HEAD].items()}}
        if not head_fits:
            del targets[HEAD]
            ignored.add(HEAD)
        problems = {
            "missing": [name for name in targets if name not in stored],
            "unknown here": [name for name in stored if name not in {*targets, *ignored}],
            "of another shape": _misfits(targets, stored),
        }
        faults = [
            f"{len(names)} {what} ({', '.join(names[:2])}{', …' * (len(names) > 2)})"
            for what, names in problems.items()
            if names
        ]
        if faults:
            raise InputError(
                f"the weights in {path} are not those of --model_name {spec.name}, which has "
                f"{len(targets)} layers with weights at --image_size {model.input_shape[1]}: "
                f"{'; '.join(faults)}"
            )
        values = [
            (variable, stored[name][key][()])
            for name, variables in targets.items()
            for key, variable in variables.items()
        ]
        for variable, value in values:
            require_finite(value, f"{variable.path} in {path}")
        left_out = tuple(name for name in stored if name in ignored)
    for variable, value in values:
        variable.assign(value)
    affine = path.suffix in dlib_files.READERS
    return LoadedWeights(path, sha256(path), len(targets), left_out, head_fits, affine)


@contextmanager
def open_layers(path: Path) -> Iterator[Layers]:
    """Open a file of any accepted kind and yield its layers that have weights."""
    if not path.is_file():
        raise InputError(f"no weights file at {path}")
    if path.suffix == ".keras":
        yield {
            name: {key: keras.ops.convert_to_numpy(value) for key, value in variables.items()}
            for name, variables in _weighted(load_keras_file(path, "read")).items()
        }
    elif path.suffix in dlib_files.READERS:
        yield dlib_files.READERS[path.suffix](path)
    else:
        with open_hdf5(path) as file:
            yield vit_layers(file) or keras2_layers(file)


def layer_variables(layer: keras.layers.Layer) -> dict[str, keras.Variable]:
    """Return the weights of a layer by name: `kernel`, or `query/kernel` in a layer of layers."""
    # A path begins with the layer's name, behind that of a model around it if there is one.
    return {v.path.rpartition(f"{layer.name}/")[2]: v for v in layer.weights}


def _places(path: Path, class_names: Sequence[str]) -> tuple[int, ...] | None:
    """Return where a checkpoint has each class's output; () if it has others, None if unknown."""
    if path.suffix == ".keras" and class_names:
        with suppress(InputError):  # of another project
            held = info_from_zip(path, "a .keras checkpoint").class_names
            return places_in(held, class_names) or () if held else None
    return None


def _weighted(model: keras.Model) -> dict[str, dict[str, keras.Variable]]:
    return {layer.name: layer_variables(layer) for layer in numbered_layers(model) if layer.weights}


def _misfits(targets: Mapping[str, Mapping], stored: Layers) -> list[str]:
    """Describe every layer whose values in the file are of other shapes."""

    def shapes(variables: Mapping) -> str:
        return " ".join(sorted(f"{key}{list(value.shape)}" for key, value in variables.items()))

    return [
        f"{name} is {shapes(stored[name])} instead of {shapes(wanted)}"
        for name, wanted in targets.items()
        if stored.get(name) and shapes(stored[name]) != shapes(wanted)
    ]
