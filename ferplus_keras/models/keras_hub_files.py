"""ViT weights of keras-hub: fetch a preset, and read the file of its weights.

keras-hub saves a backbone in Keras 3's own layout: groups named after classes, variables by number.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py

from ferplus_keras.errors import InputError
from ferplus_keras.models.keras2_files import open_hdf5
from ferplus_keras.models.vit import BLOCKS

_ENCODER = "layers/vi_t_encoder"
_EMBEDDING = "layers/vi_t_patching_and_embedding"
_NORM = ("gamma", "beta")
_DENSE = ("kernel", "bias")


def fetch_preset(preset: str, destination: Path) -> Path:
    """Download a ViT preset by keras-hub and keep its backbone's weights.

    Args:
        preset: keras-hub's name for it.
        destination: the file to make, ending in .weights.h5; its folder is made too.

    Raises:
        InputError: keras-hub is not installed or cannot fetch the preset, or the file cannot be
            written.
    """
    by_hand = f"put the preset's model.weights.h5 into {destination.parent} as {destination.name}"
    if not find_spec("keras_hub"):
        raise InputError(
            f"downloading {preset} needs keras-hub: pip install 'ferplus-keras[hub]', or {by_hand}"
        )
    import keras_hub

    try:
        backbone = keras_hub.models.ViTBackbone.from_preset(preset)
    except Exception as error:  # every kind, from each of the services it asks
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"keras-hub cannot fetch {preset} ({reason}); {by_hand}") from error
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        # Not `files.replacing`: Keras insists on how the name ends.
        with TemporaryDirectory(dir=destination.parent) as folder:
            backbone.save_weights(Path(folder) / destination.name)
            os.replace(Path(folder) / destination.name, destination)
    except OSError as error:
        raise InputError(f"cannot write {destination}: {error.strerror or error}") from error
    return destination


def is_vit_file(path: Path) -> bool:
    """Tell whether a file holds the weights of a ViT backbone of keras-hub."""
    if not h5py.is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        return _ENCODER in file


@contextmanager
def read_vit_layers(path: Path) -> Iterator[dict[str, dict[str, h5py.Dataset]]]:
    """Open the file and show its weights as those of `vit.vit_base16`'s layers.

    Yields:
        Layer name -> variable name -> data set, readable while the file is open. What has no place
        in that network stands under its own path.

    Raises:
        InputError: damaged or cut short.
    """
    places = _places()
    layers: dict[str, dict[str, h5py.Dataset]] = {}

    def put(path: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            layer, variable = places.get(path, (path, ""))
            layers.setdefault(layer, {})[variable] = item

    with open_hdf5(path) as file:
        file.visititems(put)
        yield layers


def _places() -> dict[str, tuple[str, str]]:
    """Return where each data set belongs: its path -> layer and variable."""
    groups = {
        _EMBEDDING: ("tokens", ("class_token",)),
        f"{_EMBEDDING}/position_embedding": ("tokens", ("positions",)),
        f"{_EMBEDDING}/patch_embedding": ("patch_embedding", _DENSE),
        f"{_ENCODER}/layer_norm": ("norm", _NORM),
    }
    for i in range(BLOCKS):
        theirs = f"{_ENCODER}/encoder_layers/vi_t_encoder_block" + (f"_{i}" if i else "")
        ours = f"block{i + 1}"
        for part in ("query", "key", "value", "output"):
            name = "attention_output" if part == "output" else part
            variables = tuple(f"{name}/{variable}" for variable in _DENSE)
            groups[f"{theirs}/mha/{part}_dense"] = (f"{ours}_attention", variables)
        for j in (1, 2):
            groups[f"{theirs}/layer_norm_{j}"] = (f"{ours}_norm{j}", _NORM)
            groups[f"{theirs}/mlp/dense_{j}"] = (f"{ours}_mlp{j}", _DENSE)
    return {
        f"{group}/vars/{number}": (layer, variable)
        for group, (layer, variables) in groups.items()
        for number, variable in enumerate(variables)
    }
