"""Checkpoints: Keras' own archive with one more member, which names the classes of its outputs.

Its network computes in float32 with channels last, whatever it was trained in.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ferplus_keras.errors import InputError, as_input_error
from ferplus_keras.files import replacing
from ferplus_keras.inputs import open_zip
from ferplus_keras.lazy import keras
from ferplus_keras.models.info import MEMBER, CheckpointInfo, append_info, info_from_zip
from ferplus_keras.run import find_checkpoint


def save_checkpoint(model: keras.Model, path: Path, info: CheckpointInfo) -> None:
    """Write `model`, without its optimiser, and `info` to `path`, whole or not at all."""
    # The same layers, not compiled: a third of the size under Adam. Resuming has its own file.
    network = keras.Model(model.input, model.output, name=model.name)
    with replacing(path) as temporary:
        in_float32(network).save(temporary)
        append_info(info, temporary)


def read_info(path: str | Path) -> CheckpointInfo:
    """Return what a file, or a run's most accurate model, records about itself.

    Raises:
        InputError: the file is missing, not a `.keras` archive, or not one of this project.
    """
    return info_from_zip(find_checkpoint(path), "a .keras checkpoint")


def load_checkpoint(path: str | Path) -> tuple[keras.Model, CheckpointInfo]:
    """Return the network of a file, or of a run's most accurate model, and what `read_info` does.

    The network is not compiled. It maps (b, 48, 48) uint8 faces, or those of the size and colour
    that the information names, to (b, C) float32 probabilities.

    Raises:
        InputError: as `read_info`, or the archive is damaged or describes another network.
    """
    path = find_checkpoint(path)
    info = read_info(path)
    network = load_keras_file(path, "load the checkpoint")
    shapes = (network.input_shape[1:], network.output_shape[1:])
    if shapes != (said := (info.face_shape, (len(info.class_names),))):
        raise InputError(
            f"the network in {path} maps faces {shapes[0]} to {shapes[1]}, and its {MEMBER} says "
            f"{said[0]} to {said[1]}"
        )
    return in_float32(network), info


def in_float32(network: keras.Model) -> keras.Model:
    """Return a copy, not compiled, that computes in float32; the network itself if it does."""

    def is_half(layer: keras.layers.Layer) -> bool:
        return layer.compute_dtype.endswith("float16")

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        changed = {"dtype": "float32"} if is_half(layer) else {}
        return layer.from_config(layer.get_config() | changed)

    if not any(map(is_half, network._flatten_layers())):
        return network
    found = keras.models.clone_model(network, clone_function=copy, recursive=True)
    found.set_weights(network.get_weights())
    return found


def load_keras_file(path: Path, purpose: str) -> keras.Model:
    """Return the network of any .keras file, not compiled; `purpose` is what an error says."""
    from ferplus_keras.models import layers  # noqa: F401  registers them
    from ferplus_keras.models.bounds import require_bounded_archive

    fault = as_input_error(f"cannot {purpose} {path}", Exception)  # Keras raises many kinds
    with fault, open_zip(path, "a .keras file") as archive:
        require_bounded_archive(archive, path)
        model = keras.saving.load_model(path, compile=False)
    for variable in model.variables:
        require_finite(keras.ops.convert_to_numpy(variable), f"{variable.path} in {path}")
    return model


def require_finite(values: np.ndarray, name: str) -> None:
    """Refuse weights that are not all numbers."""
    if values.dtype.kind in "fV" and not np.isfinite(values.astype(np.float32)).all():
        raise InputError(f"{name} has non-finite numbers; its weights are broken")
