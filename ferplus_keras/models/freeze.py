"""Positions of layers, and which of them train.

A position counts from the end, -1 being the last layer, as in the older project's layer listings:
the preprocessing layer, which that project did not have, is not counted.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from math import prod
from typing import NamedTuple

import keras

from ferplus_keras.errors import UsageError
from ferplus_keras.models.layers import FacePreprocessing
from ferplus_keras.progress import aligned

COLUMNS = ("position", "name", "type", "shape", "parameters", "trainable")
"""What `format_layers` shows unless asked otherwise."""


class Boundary(NamedTuple):
    """Where training starts in a network."""

    position: int  # of the first layer that may train, negative
    name: str  # of that layer
    trainable_params: int  # parameters that training changes by gradients
    frozen_params: int  # all others: frozen layers' and BatchNormalization statistics
    trainable_layers: int  # layers whose parameters train
    frozen_layers: int  # layers that have parameters and keep all of them

    def describe(self) -> str:
        """Return one line on what trains and what stays."""
        start, kept = f"from {self.name} (position {self.position})", "frozen"
        if not self.frozen_layers:
            start, kept = "every layer", "kept as statistics"
        return (
            f"training {start}: "
            f"{self.trainable_params:,} parameters trainable, {self.frozen_params:,} {kept}; "
            f"{self.trainable_layers} of {self.trainable_layers + self.frozen_layers} layers"
        )


def numbered_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers that have positions, input first: all but the preprocessing."""
    return [layer for layer in model.layers if not isinstance(layer, FacePreprocessing)]


def find_layer(model: keras.Model, name: str) -> keras.layers.Layer:
    """Return the layer of a name, spelt as here or as in the older project.

    Raises:
        UsageError: there is none; the nearest names are given.
    """
    spelling = name.replace("/", "-")
    layers = numbered_layers(model)
    for layer in layers:
        if spelling in (layer.name, _original_name(layer)):
            return layer
    nearest = get_close_matches(spelling, [layer.name for layer in layers], cutoff=0)
    raise UsageError(f"unknown layer '{name}'; nearest: {', '.join(nearest)}")


def freeze_before(model: keras.Model, position: int | str) -> Boundary:
    """Freeze every layer before a position and let that layer and all later ones train.

    A frozen BatchNormalization keeps its statistics. A compiled model has to be compiled again
    afterwards. What an earlier call froze is released if it is now behind the boundary.

    Args:
        model: a network of `build_model`, changed in place.
        position: negative -N: layers before position -N are frozen; positive N: the first N are;
            0: none is. Or a layer's name, spelt as here or as in the older project: layers before
            it are frozen. A string of digits is a number.

    Returns:
        The boundary and how much trains behind it.

    Raises:
        UsageError: no such layer, or nothing would be left to train.
    """
    layers = numbered_layers(model)
    count = len(layers)
    try:
        first = int(position)
    except ValueError:
        first = layers.index(find_layer(model, position))
    if not -count <= first < count:
        raise UsageError(
            f"position {first} is outside the network's {count} layers: expected -{count} to -1, "
            f"0 to freeze nothing, or 1 to {count - 1} to freeze that many layers"
        )
    first %= count
    model.trainable = True  # of a model that is frozen as a whole nothing trains
    for i, layer in enumerate(layers):
        layer.trainable = i >= first
    trainable = sum(prod(weight.shape) for weight in model.trainable_weights)
    weighted = [layer for layer in layers if layer.weights]
    trained = sum(layer.trainable for layer in weighted)
    counts = (trainable, model.count_params() - trainable, trained, len(weighted) - trained)
    return Boundary(first - count, layers[first].name, *counts)


def describe_layers(model: keras.Model) -> list[dict]:
    """Describe the layers that have positions, input first.

    Returns:
        One JSON-ready dict per layer: position (negative), name, original_name (the older
        project's spelling), type, shape (of the output; None is the batch), parameters, trainable.
    """
    layers = numbered_layers(model)
    return [
        {
            "position": position,
            "name": layer.name,
            "original_name": _original_name(layer),
            "type": type(layer).__name__,
            "shape": list(layer.output.shape),
            "parameters": layer.count_params(),
            "trainable": layer.trainable,
        }
        for position, layer in enumerate(layers, start=-len(layers))
    ]


def format_layers(layers: Sequence[dict], columns: Sequence[str] = COLUMNS) -> str:
    """Return these columns of what `describe_layers` returned as aligned text, with a header."""
    header = [column.replace("original_name", "older project's name") for column in columns]
    cells = [[_cell(layer[column]) for column in columns] for layer in layers]
    numbers = [i for i, column in enumerate(columns) if column in ("position", "parameters")]
    return aligned([header, *cells], right=numbers)


def _cell(value: bool | int | list | str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"({', '.join(map(str, value))})" if isinstance(value, list) else value


def _original_name(layer: keras.layers.Layer) -> str:
    """Return the name a layer had in the older project, such as `conv1/7x7_s2/bn`."""
    return "input_1" if isinstance(layer, keras.layers.InputLayer) else layer.name.replace("-", "/")
