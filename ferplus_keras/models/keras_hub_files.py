"""ViT weights of keras-hub: fetch a preset, and read the file of its weights.

keras-hub saves a backbone in Keras 3's layout: groups named after classes, variables by number.
"""

import re
from importlib.util import find_spec
from pathlib import Path

import h5py

from ferplus_keras.errors import InputError, one_line
from ferplus_keras.files import replacing, require_writable
from ferplus_keras.models.hdf5 import member, numbers
from ferplus_keras.models.hdf5_files import HDF5Layers

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


def fetch_preset(preset: str, destination: Path) -> Path:
    """Download a ViT preset by keras-hub and keep its backbone's weights, a .weights.h5 file.

    Raises:
        InputError: keras-hub is not installed or cannot fetch the preset, or the file cannot be
            written.
    """
    by_hand = f"put the preset's model.weights.h5 into {destination.parent} as {destination.name}"
    if not find_spec("keras_hub"):
        raise InputError(
            f"downloading {preset} needs keras-hub: pip install 'ferplus-keras[keras-hub]', or "
            f"{by_hand}"
        )
    import keras_hub

    try:
        backbone = keras_hub.models.ViTBackbone.from_preset(preset)
    except Exception as error:  # every kind, from each of the services it asks
        reason = one_line(error)
        raise InputError(f"keras-hub cannot fetch {preset} ({reason}); {by_hand}") from error
    require_writable(destination.parent, "$FERPLUS_WEIGHTS_DIR")
    with replacing(destination) as temporary:
        backbone.save_weights(temporary)
    return destination


def vit_layers(file: h5py.File) -> HDF5Layers:
    """Return the weights of keras-hub's ViT backbone as those of the layers of `ViTBase16`.

    What has no place in that network stands under its own path. Empty for any other file.
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
