"""Read HDF5 files of Keras 2: weights, or a whole model.

There is one group per layer, whose attribute `weight_names` lists its data sets. In a whole model's
file the groups are inside `model_weights`, and `model_config` describes the graph.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py

from ferplus_keras.errors import InputError
from ferplus_keras.models.hdf5 import member, numbers, open_hdf5

_PLAUSIBLE: dict[str, Callable[[Any], bool]] = {
    "num_classes": lambda value: type(value) is int and 0 < value <= 10_000,
    "image_size": lambda value: type(value) is int and 8 <= value <= 1024,
    "dropout_rate": lambda value: isinstance(value, float | int) and 0 <= value < 1,
    "activation": lambda value: value in ("softmax", "sigmoid"),
}

HDF5Layers = dict[str, dict[str, h5py.Dataset]]
"""Layer name -> variable name -> data set, readable while the file is open."""


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
            raise InputError(f"{path} holds weights only; a whole model was expected")
        configs = list(_layer_configs(json.loads(file.attrs["model_config"])["config"]))
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
                raise ValueError(f"its {name} is {value!r}")
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
