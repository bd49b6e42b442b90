"""What Keras runs on any backend: checkpoints, and whole models of the older project."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from ferplus_keras.backend import load_keras
from ferplus_keras.errors import InputError
from ferplus_keras.formats import FORMATS, Format, Opened, Predict, one_at_a_time
from ferplus_keras.lazy import jax, keras
from ferplus_keras.models.checkpoint import CheckpointInfo, load_checkpoint, read_info
from ferplus_keras.models.registry import MODELS, build_model

_ORDINARY = 150_000_000  # weights of a network that is built even if its file holds fewer


@FORMATS.register("hdf5")
class Hdf5(Format):
    """Read only. The file does not name its classes: `info.class_names` is empty."""

    title = "a model of the older project"
    suffixes = (".hdf5", ".h5")
    runs_in = "Keras"
    hints = ("model_name", "image_size")

    @staticmethod
    def open(path: Path, model_name: str | None = None, image_size: int | None = None) -> Opened:
        """Rebuild the network with the classes, activation and dropout rate that the file records.

        Args:
            path: the file.
            model_name: the network; None means the one that `recognise` finds.
            image_size: side in pixels to which faces are resized; None takes what the file records.

        Raises:
            InputError: the file is missing, damaged, of another kind or of another network.
            UsageError: unknown model name, or an image size the network cannot take.
        """
        load_keras()
        from ferplus_keras.models.bounds import require_bounded
        from ferplus_keras.models.hdf5 import open_hdf5, read_settings, stored_numbers
        from ferplus_keras.models.layers import HEAD
        from ferplus_keras.models.weights import load_weights

        spec = MODELS[model_name or recognise(path)]
        settings = read_settings(path, HEAD)
        settings["image_size"] = size = image_size or settings["image_size"]
        build = partial(build_model, spec.name, weights="none", **settings)
        with open_hdf5(path) as file:
            require_bounded(build, max(stored_numbers(file), _ORDINARY), path)
        model = build()
        if not load_weights(model, path, spec).head:
            raise InputError(f"'{HEAD}' in {path} does not fit {spec.name} at image size {size}")
        info = CheckpointInfo(spec.name, size, (), "unknown", "unknown", "majority")
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
        load_keras()
        model, info = load_checkpoint(path)
        return Opened(info, predictor(model), model)


def predictor(model: keras.Model) -> Predict:
    """Return what predicts with a model, on all devices of the scope in which this is called.

    On JAX it does not wait for the result, so that the next batch can be prepared meanwhile.
    """
    if devices := keras.distribution.distribution():
        return one_at_a_time(devices.predictor(model))
    run = _jitted(model) if keras.backend.backend() == "jax" else model.predict_on_batch
    return one_at_a_time(run)


def _jitted(model: keras.Model) -> Predict:
    """Return `predict_on_batch` on JAX, without what Keras does to the weights after each batch."""

    @jax.jit
    def forward(weights, others, faces):
        return model.stateless_call(weights, others, faces, training=False)[0]

    def predict(faces: np.ndarray) -> jax.Array:
        weights = [variable.value for variable in model.trainable_variables]
        return forward(weights, [each.value for each in model.non_trainable_variables], faces)

    return predict


def recognise(path: Path) -> str:
    """Return the network of the older project that has as many layers with weights as a file.

    Raises:
        InputError: the file is missing, damaged or of another kind, or no network has as many.
    """
    from ferplus_keras.models.layers import HEAD
    from ferplus_keras.models.weights import open_layers

    with open_layers(path) as stored:
        names = set(stored) - {HEAD}
    known = [spec for spec in MODELS.values() if spec.weighted_layers]
    for spec in known:
        if len(names - {*spec.top_layers}) == spec.weighted_layers:
            return spec.name
    raise InputError(
        f"{path} has {len(names)} layers with weights before its head, and none of "
        f"{', '.join(spec.name for spec in known)} has"
    )
