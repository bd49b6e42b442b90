"""ViT weights of keras-hub: fetch a preset, and read the file of its weights.

keras-hub saves a backbone in Keras 3's own layout: groups named after classes, variables by number.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py

from ferplus_keras.errors import InputError
from ferplus_keras.models.keras2_files import open_hdf5

_ENCODER = "layers/vi_t_encoder"
_EMBEDDING = "layers/vi_t_patching_and_embedding"
_BLOCK = re.compile(rf"{_ENCODER}/encoder_layers/vi_t_encoder_block(?:_(\d+))?/(.+)")
_NORM = ("gamma", "beta")
_DENSE = ("kernel", "bias")

_GROUPS = {
    _EMBEDDING: ("tokens", ("class_token",)),
    f"{_EMBEDDING}/position_embedding": ("tokens", ("positions",)),
    f"{_EMBEDDING}/patch_embedding": ("patch_embedding", _DENSE),
    f"{_ENCODER}/layer_norm": ("norm", _NORM),
}
"""Group of the file -> layer here and its variables."""

_BLOCK_GROUPS = {
    "layer_norm_1": ("norm1", _NORM),
    "mha/query_dense": ("attention", ("query/kernel", "query/bias")),
    "mha/key_dense": ("attention", ("key/kernel", "key/bias")),
    "mha/value_dense": ("attention", ("value/kernel", "value/bias")),
    "mha/output_dense": ("attention", ("attention_output/kernel", "attention_output/bias")),
    "layer_norm_2": ("norm2", _NORM),
    "mlp/dense_1": ("mlp1", _DENSE),
    "mlp/dense_2": ("mlp2", _DENSE),
}
"""Group of an encoder block -> layer of a block here and its variables."""


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
    """Open the file and show its weights as those of the layers of `networks.vit`.

    Yields:
        Layer name -> variable name -> data set, readable while the file is open. What has no place
        in that network stands under its own path.

    Raises:
        InputError: damaged or cut short.
    """
    layers: dict[str, dict[str, h5py.Dataset]] = {}

    def put(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            layer, variable = _place(name)
            layers.setdefault(layer, {})[variable] = item

    with open_hdf5(path) as file:
        file.visititems(put)
        yield layers


def _place(name: str) -> tuple[str, str]:
    """Return the layer and the variable that a data set belongs to."""
    group, _, number = name.partition("/vars/")
    layer, variables = _GROUPS.get(group, (name, ()))
    if block := _BLOCK.fullmatch(group):
        part, variables = _BLOCK_GROUPS.get(block[2], (name, ()))
        layer = f"block{int(block[1] or 0) + 1}_{part}"
    variable = dict(zip("01", variables, strict=False)).get(number)
    return (layer, variable) if variable else (name, "")
