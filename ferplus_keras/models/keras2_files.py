"""Read what Keras 2 wrote: HDF5 files of weights, or of a whole model.

A group a layer, whose attribute `weight_names` lists its data sets; in a whole model's file the
groups are inside `model_weights` and the attribute `model_config` describes the graph.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py

from ferplus_keras.errors import InputError


class HeadConfig(NamedTuple):
    """How a whole model's file ends, and the images it takes.

    Attributes:
        image_size: side of its input images in pixels.
        num_classes: units of its last Dense layer.
        activation: that layer's.
        dropout_rate: of the Dropout before it; 0 where it has none.
    """

    image_size: int
    num_classes: int
    activation: str
    dropout_rate: float


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading.

    Raises:
        InputError: it is something else, damaged or cut short.
    """
    if fault := hdf5_fault(path):
        raise InputError(f"{path} is {fault}; fetch it again")
    return h5py.File(path, "r")


def hdf5_fault(path: Path) -> str:
    """Return what is wrong with an HDF5 file, such as "empty"; nothing where it can be read."""
    if h5py.is_hdf5(path):
        try:
            h5py.File(path, "r").close()
        except OSError as error:
            return f"damaged or cut short ({error})"
        return ""
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    kinds = {
        b"": "something else",
        b"version https://git-lfs": "a git-lfs pointer to one",
        b"<!doctype": "a web page",
        b"<html": "a web page",
        b"<?xml": "a web page",
    }
    kind = next(kinds[sign] for sign in reversed(kinds) if start.startswith(sign))
    return f"not an HDF5 file but {kind if start else 'empty'}"


@contextmanager
def read_layers(path: Path) -> Iterator[dict[str, dict[str, h5py.Dataset]]]:
    """Open the file and show its layers that have weights.

    Yields:
        Layer name, with '-' for '/' -> variable name (kernel, bias, gamma, beta, moving_mean,
        moving_variance) -> data set, readable while the file is open. A model nested in another,
        such as the older project's multi-GPU wrapper, is taken apart into its layers.

    Raises:
        InputError: not HDF5, cut short, or not written by Keras 2.
    """
    with open_hdf5(path) as file:
        root = file.get("model_weights", file)
        if not any(key.startswith("layer_names") for key in root.attrs):
            raise InputError(
                f"{path} is HDF5 but not a Keras 2 weights file: it has no layer_names; expected a "
                "file of keras-vggface, a .hdf5 checkpoint of the older project or a .keras file"
            )
        layers: dict[str, dict[str, h5py.Dataset]] = {}
        for name in _names(root, "layer_names"):
            weights = _names(root[name], "weight_names")
            variables = [_variable(weight) for weight in weights]
            # One layer never has two variables of a name: repeats mean that this one is a model.
            nested = len(set(variables)) < len(variables)
            for weight, variable in zip(weights, variables, strict=True):
                layer = weight.rpartition("/")[0] if nested else name
                layers.setdefault(layer.replace("/", "-"), {})[variable] = root[name][weight]
        yield layers


def read_head_config(path: Path, head: str) -> HeadConfig:
    """Read from a whole model's file what is needed to build that model again.

    Args:
        path: a model saved by the older project.
        head: name of the last Dense layer.

    Raises:
        InputError: the file holds weights only, or no such layer.
    """
    with open_hdf5(path) as file:
        if "model_config" not in file.attrs:
            raise InputError(f"{path} holds weights only; a whole model was expected")
        text = file.attrs["model_config"]
    configs = list(_layer_configs(json.loads(text)["config"]))
    shapes = [c["batch_input_shape"] for c in configs if "batch_input_shape" in c]
    heads = [c for c in configs if c["name"] == head and "units" in c]
    if not shapes or not heads:
        raise InputError(f"{path} is not a classifier of the older project: no layer '{head}'")
    return HeadConfig(
        image_size=shapes[0][1],
        num_classes=heads[0]["units"],
        activation=heads[0]["activation"],
        dropout_rate=next((c["rate"] for c in configs if "rate" in c), 0.0),
    )


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
    keys = [attribute]
    if attribute not in group.attrs:
        keys = [
            f"{attribute}{i}" for i in range(len(group.attrs)) if f"{attribute}{i}" in group.attrs
        ]
    names = [name for key in keys for name in group.attrs[key]]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _variable(weight_name: str) -> str:
    """Return `kernel` for `conv1/7x7_s2/kernel:0`; a session's second model has `kernel_1:0`."""
    name = weight_name.rpartition("/")[2].partition(":")[0]
    stem, _, number = name.rpartition("_")
    return stem if number.isdigit() else name
