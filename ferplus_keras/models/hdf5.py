"""HDF5 files that anybody may have made, read without following links to other files.

Keras 2 writes one group per layer, whose attribute `weight_names` lists its data sets. In a whole
model's file the groups are inside `model_weights`, and `model_config` describes the graph. Keras 3,
and so keras-hub, has groups named after classes, and variables by number.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from ferplus_keras.errors import InputError, as_input_error
from ferplus_keras.inputs import EXPANSION, read_json

HDF5Layers = dict[str, dict[str, h5py.Dataset]]
"""Layer name -> variable name -> data set, readable while the file is open."""

_DAMAGE = (OSError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, MemoryError)
"""What h5py raises, or reading a file whose parts are of other kinds than expected."""

_PLAUSIBLE: dict[str, Callable[[Any], bool]] = {
    "num_classes": lambda value: type(value) is int and 0 < value <= 10_000,
    "image_size": lambda value: type(value) is int and 8 <= value <= 1024,
    "dropout_rate": lambda value: isinstance(value, float | int) and 0 <= value < 1,
    "activation": lambda value: value in ("softmax", "sigmoid"),
}

_ENCODER = "layers/vi_t_encoder"
_EMBEDDING = "layers/vi_t_patching_and_embedding"
_BLOCK = re.compile(rf"{_ENCODER}/encoder_layers/vi_t_encoder_block(?:_(\d+))?/(.+)")

_GROUPS = {
    _EMBEDDING: ("tokens", "class_token"),
    f"{_EMBEDDING}/position_embedding": ("tokens", "positions"),
    f"{_EMBEDDING}/patch_embedding": ("patch_embedding", "kernel", "bias"),
    f"{_ENCODER}/layer_norm": ("norm", "gamma", "beta"),
    # Inside each encoder block:
    "layer_norm_1": ("norm1", "gamma", "beta"),
    "mha/query_dense": ("attention", "query/kernel", "query/bias"),
    "mha/key_dense": ("attention", "key/kernel", "key/bias"),
    "mha/value_dense": ("attention", "value/kernel", "value/bias"),
    "mha/output_dense": ("attention", "attention_output/kernel", "attention_output/bias"),
    "layer_norm_2": ("norm2", "gamma", "beta"),
    "mlp/dense_1": ("mlp1", "kernel", "bias"),
    "mlp/dense_2": ("mlp2", "kernel", "bias"),
}
"""Group of keras-hub's file -> layer of `ViTBase16` and its variables."""


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; InputError says what it is instead, or how it is damaged."""
    if fault := hdf5_fault(path):
        raise InputError(f"{path} is {fault}; fetch it again, or name a .keras or .h5 file")
    fault = as_input_error(f"{path} is damaged or of another kind", *_DAMAGE)
    with fault, h5py.File(path, "r") as file:
        stored_numbers(file)
        yield file


def stored_numbers(file: h5py.File) -> int:
    """Return how many numbers the data sets of a file hold.

    Raises:
        ValueError: they declare far more than its size allows.
    """
    found: list[h5py.Dataset] = []
    file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    said = sum((each.size or 0) * each.dtype.itemsize for each in found)
    if said > EXPANSION * (held := file.id.get_filesize()) + 1_000_000:
        raise ValueError(f"it declares {said:,} bytes of numbers in a file of {held:,}")
    return sum(each.size or 0 for each in found)


def numbers(group: h5py.Group, path: str) -> h5py.Dataset:
    """Return an array of numbers that lies in the file itself.

    Links to other files could name anything that the user may read; Keras writes none.

    Raises:
        ValueError: there is no such array, or it is of another kind.
    """
    found = member(group, path)
    if not isinstance(found, h5py.Dataset) or found.shape is None or found.dtype.kind not in "fiu":
        raise ValueError(f"expected numbers at {path}")
    if found.external or found.is_virtual:
        raise ValueError(f"the numbers of {path} are in another file")
    return found


def member(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset | None:
    """Return what a path in a file names; None for nothing, and for a link to elsewhere."""
    for name in filter(None, path.split("/")):
        link = group.get(name, getlink=True) if isinstance(group, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            return None
        group = group[name]
    return group


def hdf5_fault(path: Path) -> str:
    """Return what is wrong with an HDF5 file; an empty string where it can be read."""
    if h5py.is_hdf5(path):
        try:
            h5py.File(path, "r").close()
        except OSError as error:
            return f"damaged or cut short ({error})"
        return ""
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    kind = "something else" if start else "empty"
    if start.startswith(b"version https://git-lfs"):
        kind = "a git-lfs pointer to one"
    elif start.startswith((b"<!doctype", b"<html", b"<?xml")):
        kind = "a web page"
    return f"not an HDF5 file but {kind}"


def keras2_layers(file: h5py.File) -> HDF5Layers:
    """Return the layers with weights of a file of Keras 2, '-' for the '/' in their names.

    Variables are kernel, bias, gamma, beta, moving_mean and moving_variance. A model nested in
    another, such as the older project's multi-GPU wrapper, is taken apart into its layers.

    Raises:
        InputError: not written by Keras 2.
    """
    root = member(file, "model_weights") or file
    if not any(key.startswith("layer_names") for key in root.attrs):
        raise InputError(
            f"{file.filename} is HDF5 but not a Keras 2 weights file: it has no layer_names; "
            "expected a file of keras-vggface, a .hdf5 checkpoint of the older project or a .keras "
            "file"
        )
    layers: HDF5Layers = {}
    for name in _names(root, "layer_names"):
        if (group := member(root, name)) is None:
            raise ValueError(f"the layer {name} is listed but missing")
        weights = _names(group, "weight_names")
        # `conv1/7x7_s2/kernel:0`; a session's second model has `kernel_1:0`.
        variables = [
            re.sub(r"_\d+$", "", weight.rpartition("/")[2].partition(":")[0]) for weight in weights
        ]
        # One layer never has two variables of a name: repeats mean that this one is a model.
        nested = len(set(variables)) < len(variables)
        for weight, variable in zip(weights, variables, strict=True):
            layer = weight.rpartition("/")[0] if nested else name
            layers.setdefault(layer.replace("/", "-"), {})[variable] = numbers(group, weight)
    return layers


def read_settings(path: Path, head: str) -> dict[str, Any]:
    """Return the settings with which `build_model` builds a model of the older project again.

    Raises:
        InputError: the file holds weights only, or no layer named `head`.
    """
    with open_hdf5(path) as file:
        if "model_config" not in file.attrs:
            raise InputError(
                f"{path} holds weights only, and a whole model was expected; "
                f"train.py --weights {path} starts a training from it"
            )
        configs = list(_layer_configs(read_json(file.attrs["model_config"])["config"]))
        shapes = [c["batch_input_shape"] for c in configs if "batch_input_shape" in c]
        heads = [c for c in configs if c["name"] == head and "units" in c]
        if not shapes or not heads:
            raise InputError(f"{path} is not a classifier of the older project: no layer '{head}'")
        found = {
            "num_classes": heads[0]["units"],
            "image_size": shapes[0][1],
            "dropout_rate": next((c["rate"] for c in configs if "rate" in c), 0.0),
            "activation": heads[0]["activation"],
        }
        for name, value in found.items():
            if not _PLAUSIBLE[name](value):
                raise InputError(
                    f"{path} is not a classifier of the older project, its {name} is {value!r}; "
                    "docs/own_network.md says how to use models from elsewhere"
                )
    return found


def _layer_configs(config: dict | list) -> Iterator[dict]:
    """Walk the configurations of all layers, also those of nested models."""
    # Keras before 2.2.3 kept a Sequential's layers as a bare list.
    for layer in config if isinstance(config, list) else config["layers"]:
        inner = layer["config"]
        if isinstance(inner, list) or "layers" in inner:
            yield from _layer_configs(inner)
        else:
            yield inner


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Read a list of names; Keras splits a list over 64 kB into attribute0, attribute1 …"""
    numbered = (f"{attribute}{i}" for i in range(len(group.attrs)))
    keys = [key for key in (attribute, *numbered) if key in group.attrs]
    names = [name for key in keys for name in group.attrs[key]]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def vit_layers(file: h5py.File) -> HDF5Layers:
    """Return the weights of keras-hub's ViT backbone under the names of `ViTBase16`'s layers.

    What has no place in that network keeps its path as its name. Empty for any other file.
    """
    layers: HDF5Layers = {}

    def put(path: str, item: h5py.Group | h5py.Dataset) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        group, _, number = path.partition("/vars/")
        block = _BLOCK.fullmatch(group)
        layer, *variables = _GROUPS.get(block[2] if block else group, (path,))
        if block:
            layer = f"block{int(block[1] or 0) + 1}_{layer}"
        variable = dict(zip("01", variables, strict=False)).get(number)
        layers.setdefault(layer if variable else path, {})[variable or ""] = numbers(file, path)

    if member(file, _ENCODER):
        file.visititems(put)
    return layers
