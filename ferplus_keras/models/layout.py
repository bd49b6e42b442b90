"""In which order a network's maps keep rows, columns and channels: as its backend does.

Networks are built, saved and explained with channels last, on every backend. Torch trains and
predicts with channels first. A network is copied from one layout to the other: names, positions and
weights are the same.
"""

from __future__ import annotations

from typing import Any

import keras

from ferplus_keras.models.layers import FacePreprocessing, PaddedAdd

_ANY_LAYOUT = (
    *(keras.layers.Activation, keras.layers.ReLU, keras.layers.Add, keras.layers.Multiply),
    *(keras.layers.Dropout, keras.layers.InputLayer, PaddedAdd),
)
"""Layers that treat all axes but the batch's alike."""


def own_layout() -> str:
    """Return the data format of the Keras backend's own convolutions."""
    return "channels_first" if keras.backend.backend() == "torch" else "channels_last"


def converted(
    model: keras.Model, data_format: str | None = None, dtype: str | None = None
) -> keras.Model:
    """Return a network with its maps in another layout, or computing in another precision.

    Args:
        model: a flat network of `build_model`; another one keeps its layout.
        data_format: "channels_first" or "channels_last"; None is `own_layout`.
        dtype: what every layer computes in; None leaves it as it is.

    Returns:
        A copy, not compiled; the network itself if that changes nothing. A network with layers
        that know one layout only, such as a transformer, keeps its layout too.
    """
    data_format = data_format or own_layout()
    ours = any(isinstance(layer, FacePreprocessing) for layer in model.layers)
    if not ours or not all(map(_knows_layouts, model.layers)):
        data_format = None
    changes = {layer.name: _changes(layer, data_format, dtype) for layer in model.layers}
    if not any(changes.values()):
        return model
    copy = keras.models.clone_model(
        model,
        clone_function=lambda layer: layer.from_config(layer.get_config() | changes[layer.name]),
    )
    copy.set_weights(model.get_weights())
    return copy


def _knows_layouts(layer: keras.layers.Layer) -> bool:
    if isinstance(layer, keras.layers.Reshape):  # a vector becomes a map of one pixel
        return len(layer.input.shape) == 2 and sorted(layer.target_shape)[:-1] == [1, 1]
    return (
        all(len(tensor.shape) < 4 for tensor in keras.tree.flatten([layer.input, layer.output]))
        or isinstance(layer, (*_ANY_LAYOUT, keras.layers.BatchNormalization))
        or "data_format" in layer.get_config()
    )


def _changes(
    layer: keras.layers.Layer, data_format: str | None, dtype: str | None
) -> dict[str, Any]:
    """Return what changes in the configuration of a layer; `data_format` None keeps the layout."""
    found: dict[str, Any] = {}
    if dtype and layer.compute_dtype in ("float16", "bfloat16"):
        found["dtype"] = dtype
    if data_format is None:
        return found
    config, first = layer.get_config(), data_format == "channels_first"
    if config.get("data_format", data_format) != data_format:
        found["data_format"] = data_format
    elif isinstance(layer, keras.layers.BatchNormalization) and len(layer.output.shape) == 4:
        if first != (config["axis"] == 1):
            found["axis"] = 1 if first else -1
    elif isinstance(layer, keras.layers.Reshape):
        shape = tuple(sorted(config["target_shape"], reverse=first))
        if shape != tuple(config["target_shape"]):
            found["target_shape"] = shape
    return found
