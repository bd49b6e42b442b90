"""Limits of what a file may make Keras build, checked before memory or long work goes into it."""

import io
import math
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import keras

from ferplus_keras.errors import InputError
from ferplus_keras.inputs import read_json
from ferplus_keras.models.hdf5 import stored_numbers

PARTS = 20_000
"""Layers with their initializers and the like, once per call; Keras' NASNetLarge has 3,896."""

LARGEST_MAP = 2**28
"""Numbers that one layer may make of one face: 64 maps of 2048 x 2048."""


def require_bounded_archive(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse a .keras file of more than `PARTS`, or as `require_bounded` does."""
    text = archive.read("config.json")
    with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file:
        numbers = stored_numbers(file)
    if (parts := _parts(read_json(text))) > PARTS:
        raise InputError(f"{path} describes a graph of {parts:,} parts, of at most {PARTS:,}")
    # Without the optimizers of networks inside it, whose variables would exist at once.
    text = text.replace(b'"compile_config"', b'"left_out"')
    build = keras.saving.deserialize_keras_object
    require_bounded(lambda: build(read_json(text)), numbers, path)


def require_bounded(build: Callable[[], keras.Model], numbers: int, path: Path) -> None:
    """Raise InputError if what `build` makes has more weights than `path` numbers, or huge maps.

    It is built without its weights, in a thread of its own: Keras keeps lists for each thread.
    """

    def measure() -> tuple[int, int]:
        with keras.StatelessScope(initialize_variables=False):
            model = build()
            steps = list(model._flatten_layers())
            steps += [each for step in steps for each in getattr(step, "operations", ())]
            nodes = [node for step in steps for node in step._inbound_nodes]
            maps = (math.prod(filter(None, t.shape)) for n in nodes for t in n.output_tensors)
            return sum(math.prod(v.shape) for v in model.weights), max(maps, default=0)

    with ThreadPoolExecutor(1) as thread:
        try:
            weights, largest = thread.submit(measure).result()
        except (TypeError, ValueError) as error:
            if "stateless scope" in str(error):  # a user's own layer makes variables from values
                return
            raise
    if weights > numbers:
        found = f"layers of {weights:,} weights, and holds {numbers:,} numbers"
        raise InputError(f"{path} describes {found}")
    if largest > LARGEST_MAP:
        raise InputError(f"{path} describes a layer that makes {largest:,} numbers of one face")


def _parts(config: Any) -> int:
    """Count what Keras builds; a network inside another is built again at each of its calls."""
    if isinstance(config, list):
        return sum(map(_parts, config))
    if not isinstance(config, dict):
        return 0
    inside = sum(_parts(value) for key, value in config.items() if key != "inbound_nodes")
    calls = len(config.get("inbound_nodes") or [None])
    return calls * (inside + 1) if "class_name" in config else inside
