"""What Keras runs on any backend: checkpoints, and whole models of the older project."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ferplus_keras.backend import choose_backend, load_keras
from ferplus_keras.errors import InputError
from ferplus_keras.formats import FORMATS, Format, Opened, Predict, one_at_a_time
from ferplus_keras.models.checkpoint import CheckpointInfo, load_checkpoint, read_info
from ferplus_keras.models.registry import MODELS, build_model

if TYPE_CHECKING:
    import jax
    import keras
    import numpy as np


_ORDINARY = 150_000_000  # weights of a network that is built anyway, and named by its layers


@FORMATS.register("hdf5")
class Hdf5(Format):
    """Read only. The file does not name its classes: `info.class_names` is empty."""

    title = "a model of the older project"
    suffixes = (".hdf5", ".h5")
    runs_in = "Keras"
    hints = ("model_name", "image_size")

    @staticmethod
    def open(path: Path, model_name: str | None = None, image_size: int | None = None) -> Opened:
        """Build the network that the file's layers tell, or `model_name`, with its weights."""
        choose_backend()
        load_keras()
        from ferplus_keras.models.layers import PREPROCESSING

        model, name = load_full_model(path, model_name, image_size)
        size = model.get_layer(PREPROCESSING).image_size
        info = CheckpointInfo(name, size, (), "unknown", "unknown", "majority")
        return Opened(info, predictor(model), model)


@FORMATS.register("keras")
class Keras(Format):
    """Written by training (`save_checkpoint`)."""

    title = "a Keras checkpoint"
    suffixes = (".keras",)
    runs_in = "Keras"
    peek = staticmethod(read_info)

    @staticmethod
    def open(path: Path) -> Opened:
        """Load the network by Keras."""
        choose_backend()
        load_keras()
        model, info = load_checkpoint(path)
        return Opened(info, predictor(model), model)


def predictor(model: keras.Model) -> Predict:
    """Return what predicts by a model, on all devices of the scope in which this is called.

    On JAX it does not wait for the result, so that the next batch can be prepared meanwhile.
    """
    from keras.backend import backend
    from keras.distribution import distribution

    if devices := distribution():
        return one_at_a_time(devices.predictor(model))
    return one_at_a_time(_jitted(model) if backend() == "jax" else model.predict_on_batch)


def _jitted(model: keras.Model) -> Predict:
    """Return `predict_on_batch` on JAX, without what Keras does to the weights after each batch."""
    import jax

    @jax.jit
    def forward(weights, others, faces):
        return model.stateless_call(weights, others, faces, training=False)[0]

    def predict(faces: np.ndarray) -> jax.Array:
        weights = [variable.value for variable in model.trainable_variables]
        return forward(weights, [each.value for each in model.non_trainable_variables], faces)

    return predict


def load_full_model(
    path: Path, model_name: str | None = None, image_size: int | None = None
) -> tuple[keras.Model, str]:
    """Build a network again from a whole model that the older project saved as .hdf5.

    Its graph is rebuilt, with the classes, activation and dropout rate that the file records,
    and gets the file's weights.

    Args:
        path: the file.
        model_name: the network; None recognises it by its number of layers with weights.
        image_size: side in pixels to which faces are resized; None takes what the file records.

    Returns:
        The model, not compiled, from (b, 48, 48) uint8 faces to (b, C) float32 probabilities, and
        its name in the table of networks.

    Raises:
        InputError: the file is missing, damaged, of another kind or of another network.
        UsageError: unknown model name, or an image size the network cannot take.
    """
    from ferplus_keras.models.bounds import require_bounded
    from ferplus_keras.models.hdf5 import open_hdf5, read_settings, stored_numbers
    from ferplus_keras.models.layers import HEAD
    from ferplus_keras.models.weights import load_weights, open_layers

    if model_name is None:
        with open_layers(path) as stored:
            names = set(stored) - {HEAD}
        known = [spec for spec in MODELS.values() if spec.weighted_layers]
        fits = [of.name for of in known if len(names - {*of.top_layers}) == of.weighted_layers]
        if not fits:
            raise InputError(
                f"{path} has {len(names)} layers with weights before its head, and none of "
                f"{', '.join(of.name for of in known)} has"
            )
        model_name = fits[0]
    spec = MODELS[model_name]
    settings = read_settings(path, HEAD)
    settings["image_size"] = size = image_size or settings["image_size"]
    build = partial(build_model, spec.name, weights="none", **settings)
    with open_hdf5(path) as file:
        require_bounded(build, max(stored_numbers(file), _ORDINARY), path)
    model = build()
    if not load_weights(model, path, spec).head:
        raise InputError(f"'{HEAD}' in {path} does not fit {spec.name} at image size {size}")
    return model, spec.name
