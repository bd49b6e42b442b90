"""ViT weights of keras-hub: fetch a preset, and read the file of its weights.

keras-hub saves a backbone in Keras 3's own layout: groups named after classes, variables by number.
"""

import os
import re
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py

from ferplus_keras.errors import InputError, one_line

_ENCODER = "layers/vi_t_encoder"
_EMBEDDING = "layers/vi_t_patching_and_embedding"
_BLOCK = re.compile(rf"{_ENCODER}/encoder_layers/vi_t_encoder_block(?:_(\d+))?/(.+)")

_GROUPS = {
    _EMBEDDING: ("tokens", "class_token"),
    f"{_EMBEDDING}/position_embedding": ("tokens", "positions"),
    f"{_EMBEDDING}/patch_embedding": ("patch_embedding", "kernel", "bias"),
    f"{_ENCODER}/layer_norm": ("norm", "gamma", "beta"),
}
"""Group of the file -> layer here and its variables."""

_BLOCK_GROUPS = {
    "layer_norm_1": ("norm1", "gamma", "beta"),
    "mha/query_dense": ("attention", "query/kernel", "query/bias"),
    "mha/key_dense": ("attention", "key/kernel", "key/bias"),
    "mha/value_dense": ("attention", "value/kernel", "value/bias"),
    "mha/output_dense": ("attention", "attention_output/kernel", "attention_output/bias"),
    "layer_norm_2": ("norm2", "gamma", "beta"),
    "mlp/dense_1": ("mlp1", "kernel", "bias"),
    "mlp/dense_2": ("mlp2", "kernel", "bias"),
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
        reason = one_line(error)
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


def vit_layers(file: h5py.File) -> dict[str, dict[str, h5py.Dataset]]:
    """Return the weights of a ViT backbone of keras-hub as those of the layers of `networks.vit`.

    Returns:
        Layer name -> variable name -> data set, readable while the file is open. What has no place
        in that network stands under its own path. Empty for any other file.
    """
    layers: dict[str, dict[str, h5py.Dataset]] = {}

    def put(path: str, item: h5py.Group | h5py.Dataset) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        group, _, number = path.partition("/vars/")
        if block := _BLOCK.fullmatch(group):
            layer, *variables = _BLOCK_GROUPS.get(block[2], (path,))
            layer = f"block{int(block[1] or 0) + 1}_{layer}"
        else:
            layer, *variables = _GROUPS.get(group, (path,))
        variable = dict(zip("01", variables, strict=False)).get(number)
        layers.setdefault(layer if variable else path, {})[variable or ""] = item

    if _ENCODER in file:
        file.visititems(put)
    return layers
