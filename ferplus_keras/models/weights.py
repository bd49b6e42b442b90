"""Find a weights file, read it by h5py, and load it by name, all of it or nothing.

Keras' own `load_weights(by_name=True)` silently skips every layer whose name differs. Here each
backbone layer must be in the file with the same shapes, and the file may hold nothing else than
layers known to be left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import h5py
import keras
import numpy as np

from ferplus_keras.errors import InputError, unknown
from ferplus_keras.files import sha256
from ferplus_keras.models.checkpoint import load_keras_file
from ferplus_keras.models.download import download
from ferplus_keras.models.freeze import numbered_layers
from ferplus_keras.models.head import HEAD
from ferplus_keras.models.keras2_files import read_layers
from ferplus_keras.models.keras_hub_files import fetch_preset, is_vit_file, read_vit_layers
from ferplus_keras.run import find_checkpoint

if TYPE_CHECKING:
    from ferplus_keras.models.registry import ModelSpec

Layers = Mapping[str, Mapping[str, h5py.Dataset | np.ndarray]]
"""Layer name (spelt as here) -> variable name, such as `kernel`, or `query/kernel` in a layer of
layers -> values."""


class LoadedWeights(NamedTuple):
    """What came out of a weights file.

    Attributes:
        path: the file.
        sha256: of its bytes, hexadecimal.
        layers: number of layers that got their weights from it, the head's included.
        left_out: layers of the file that were not used: its top, or a head of another size.
        head: whether the classification head was loaded too.
    """

    path: Path
    sha256: str
    layers: int
    left_out: tuple[str, ...]
    head: bool

    def __str__(self) -> str:
        left_out = f"; left out: {', '.join(self.left_out)}" if self.left_out else ""
        head = "head included" if self.head else "new head"
        return f"{self.layers} layers from {self.path} ({head}{left_out})"


def find_weights(spec: ModelSpec, kind: str | os.PathLike) -> Path:
    """Return the weights file to use, downloading it if it lies nowhere yet.

    Args:
        spec: the network.
        kind: a name in `spec.weights`, such as "vggface2", a file, or a run folder, whose most
            accurate model is meant. A name's files, with and without top, are looked for in
            $FERPLUS_WEIGHTS_DIR, then in their folder of Keras' own cache, such as
            `~/.keras/models/vggface` ($KERAS_HOME replaces `~/.keras`), and the first is then
            downloaded to the latter.

    Raises:
        UsageError: neither a known name nor a path.
        InputError: no such file, or the download failed.
    """
    if kind not in spec.weights:
        path = Path(kind)
        if path.exists():
            return find_checkpoint(path)
        if path.suffix or len(path.parts) > 1:
            raise InputError(f"no weights file at {path}")
        raise unknown(f"weights for {spec.name}, nor a file,", str(path), [*spec.weights, "none"])
    published = spec.weights[kind]
    own = os.environ.get("FERPLUS_WEIGHTS_DIR")
    keras_home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    cache = Path(keras_home) / published.folder
    for folder in [Path(own), cache] if own else [cache]:
        for name in published.file_names:
            if (folder / name).is_file():
                return folder / name
    destination = cache / published.file_names[0]
    try:
        if published.preset:
            return fetch_preset(published.preset, destination)
        return download(published.urls[0], destination, digest=published.digest)
    except InputError as error:
        raise InputError(f"{error}, or start from random weights with --weights none") from None


def load_weights(
    model: keras.Model, source_path: str | os.PathLike, spec: ModelSpec
) -> LoadedWeights:
    """Load a backbone, and the head where it fits, by layer name.

    Nothing is assigned before everything has been checked and read.

    Args:
        model: a network of `build_model`, changed in place.
        source_path: a Keras 2 weights file with or without its top; a whole model saved by the
            older project (.hdf5), also inside a multi-GPU wrapper; a .keras file of this project;
            the weights of a ViT backbone of keras-hub (.weights.h5).
        spec: the network's specification.

    Returns:
        What was loaded. A head whose shapes differ is left out and listed as such.

    Raises:
        InputError: the file is missing, damaged or of another kind, or its layers are not
            exactly the backbone's.
    """
    path = Path(source_path)
    targets = _weighted(model)
    with open_layers(path) as stored:
        head_fits = HEAD in stored and not _misfits({HEAD: targets[HEAD]}, stored)
        ignored = {*spec.top_layers, *(() if head_fits else (HEAD,))}
        targets = {name: layer for name, layer in targets.items() if name != HEAD or head_fits}
        problems = {
            "missing": [name for name in targets if name not in stored],
            "unknown here": [name for name in stored if name not in {*targets, *ignored}],
            "of another shape": _misfits(targets, stored),
        }
        if any(problems.values()):
            raise InputError(
                f"the weights in {path} are not those of {spec.name}, which has {len(targets)} "
                f"layers with weights: {_describe(problems)}"
            )
        values = [
            (variable, stored[name][variable_name][()])
            for name, layer in targets.items()
            for variable_name, variable in layer_variables(layer).items()
        ]
        left_out = tuple(name for name in stored if name in ignored)
    for variable, value in values:
        variable.assign(value)
    return LoadedWeights(path, sha256(path), len(targets), left_out, head_fits)


@contextmanager
def open_layers(path: Path) -> Iterator[Layers]:
    """Open a file of any accepted kind and show its layers that have weights.

    Raises:
        InputError: the file is missing, damaged or of another kind.
    """
    if not path.is_file():
        raise InputError(f"no weights file at {path}")
    if path.suffix == ".keras":
        yield {
            name: {
                key: keras.ops.convert_to_numpy(value)
                for key, value in layer_variables(layer).items()
            }
            for name, layer in _weighted(load_keras_file(path, "read")).items()
        }
    else:
        with (read_vit_layers if is_vit_file(path) else read_layers)(path) as stored:
            yield stored


def layer_variables(layer: keras.layers.Layer) -> dict[str, keras.Variable]:
    """Return the weights of a layer by name: `kernel`, or `query/kernel` in a layer of layers."""
    # A path begins with the layer's name, behind that of a model around it if there is one.
    return {v.path.rpartition(f"{layer.name}/")[2]: v for v in layer.weights}


def _weighted(model: keras.Model) -> dict[str, keras.layers.Layer]:
    return {layer.name: layer for layer in numbered_layers(model) if layer.weights}


def _misfits(targets: Mapping[str, keras.layers.Layer], stored: Layers) -> list[str]:
    """Describe every layer whose values in the file are of other shapes."""
    misfits = []
    for name, layer in targets.items():
        wanted, found = (
            {key: tuple(value.shape) for key, value in variables.items()}
            for variables in (layer_variables(layer), stored.get(name, {}))
        )
        if found and found != wanted:
            found, wanted = (
                " ".join(f"{key}{list(shape)}" for key, shape in shapes.items())
                for shapes in (found, wanted)
            )
            misfits.append(f"{name} is {found} instead of {wanted}")
    return misfits


def _describe(problems: Mapping[str, list[str]], limit: int = 2) -> str:
    return "; ".join(
        f"{len(names)} {what} ({', '.join(names[:limit])}{', …' * (len(names) > limit)})"
        for what, names in problems.items()
        if names
    )
