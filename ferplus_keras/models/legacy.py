"""Build a network again from one file of the older project."""

from functools import partial
from os import PathLike
from pathlib import Path

import keras

from ferplus_keras.errors import InputError
from ferplus_keras.models.bounds import require_bounded
from ferplus_keras.models.hdf5 import open_hdf5, stored_numbers
from ferplus_keras.models.hdf5_files import read_settings
from ferplus_keras.models.layers import HEAD
from ferplus_keras.models.registry import MODELS, build_model
from ferplus_keras.models.weights import load_weights, open_layers

_ORDINARY = 150_000_000
"""Weights of a network that is built all the same: a wrong one is named by its layers then."""


def load_full_model(
    path: str | PathLike, model_name: str | None = None, image_size: int | None = None
) -> tuple[keras.Model, str]:
    """Load a whole model that the older project saved as .hdf5.

    Its graph is rebuilt, with the classes, activation and dropout rate that the file records,
    and gets the file's weights.

    Args:
        path: the file.
        model_name: the network; None recognises it by its layers.
        image_size: side in pixels to which faces are resized; None takes what the file records.

    Returns:
        The model, not compiled, from (b, 48, 48) uint8 faces to (b, C) float32 probabilities, and
        its name in the table of networks.

    Raises:
        InputError: the file is missing, damaged, of another kind or of another network.
        UsageError: unknown model name, or an image size the network cannot take.
    """
    path = Path(path)
    spec = MODELS[model_name or infer_model_name(path)]
    settings = read_settings(path, HEAD)
    settings["image_size"] = image_size or settings["image_size"]
    build = partial(build_model, spec.name, weights="none", **settings)
    with open_hdf5(path) as file:
        require_bounded(build, max(stored_numbers(file), _ORDINARY), path)
    model = build()
    if not load_weights(model, path, spec).head:
        raise InputError(
            f"the layer '{HEAD}' in {path} does not fit {spec.name} at image size "
            f"{settings['image_size']}"
        )
    return model, spec.name


def infer_model_name(path: str | PathLike) -> str:
    """Recognise the network of a file by its number of layers with weights.

    Raises:
        InputError: no network of the older project has that many, or the file cannot be read.
    """
    with open_layers(Path(path)) as stored:
        names = set(stored) - {HEAD}
    known = {spec.name: spec for spec in MODELS.values() if spec.weighted_layers}
    for name, spec in known.items():
        if len(names - set(spec.top_layers)) == spec.weighted_layers:
            return name
    raise InputError(
        f"{path} has {len(names)} layers with weights before its head, and none of "
        f"{', '.join(known)} has"
    )
