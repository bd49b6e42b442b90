"""Networks by name: look one up in the table, build it, give it its weights."""

from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING

from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.errors import UsageError, unknown
from ferplus_keras.models.table import MODELS, ModelSpec

if TYPE_CHECKING:
    import keras

    from ferplus_keras.models.weights import LoadedWeights

__all__ = ["MODELS", "ModelSpec", "build_model", "build_with_weights", "list_models", "model_spec"]

ACTIVATIONS = ("softmax", "sigmoid")
"""What the head's Dense layer may end in."""


def list_models() -> list[str]:
    """Return the names of the networks."""
    return list(MODELS)


def model_spec(name: str) -> ModelSpec:
    """Return a network's row of the table.

    Raises:
        UsageError: there is no network of that name.
    """
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    return MODELS[name]


def build_model(
    name: str,
    num_classes: int,
    *,
    weights: str | PathLike | None = None,
    image_size: int | None = None,
    dropout_rate: float | None = None,
    activation: str = "softmax",
) -> "keras.Model":
    """Build a classifier of 48x48 faces, its backbone pretrained.

    Args:
        name: a name in `MODELS`.
        num_classes: number of classes C.
        weights: a name of published weights (such as "vggface2", the file keras-vggface released
            for this network; VGG16's was trained on VGGFace, the predecessor), searched for and
            downloaded by `weights.find_weights`; "none", random weights; or a path: a Keras 2
            weights file with or without its top, a checkpoint of the older project (.hdf5) or of
            this one (.keras), keras-hub's file for ViTBase16 (.weights.h5). None is the network's
            published weights where there are any.
        image_size: side, in pixels, to which faces are resized inside the graph; None is the
            network's own.
        dropout_rate: share of features dropped before the last layer while training; None is the
            network's own.
        activation: "softmax" or "sigmoid".

    Returns:
        A model from "faces", (b, 48, 48) uint8, to (b, C) float32 probabilities.

    Raises:
        UsageError: an unknown name or a setting out of range; nothing was built yet.
        InputError: the weights cannot be found, fetched or read, or do not fit.

    Example:
        >>> model = build_model("ResNet50", 8, weights="none", image_size=48)  # doctest: +SKIP
        >>> model.output_shape  # doctest: +SKIP
        (None, 8)
    """
    model, _ = build_with_weights(
        name,
        num_classes,
        weights=weights,
        image_size=image_size,
        dropout_rate=dropout_rate,
        activation=activation,
    )
    return model


def build_with_weights(
    name: str,
    num_classes: int,
    *,
    weights: str | PathLike | None = None,
    image_size: int | None = None,
    dropout_rate: float | None = None,
    activation: str = "softmax",
) -> "tuple[keras.Model, LoadedWeights | None]":
    """Build a classifier as `build_model` does and also say which weights it got.

    Returns:
        The model, and the report on its weights file: path, SHA-256, layers loaded and left out;
        None for `weights="none"`.
    """
    spec = model_spec(name)
    weights = spec.default_weights if weights is None else weights
    image_size = spec.image_size if image_size is None else image_size
    dropout_rate = spec.dropout_rate if dropout_rate is None else dropout_rate
    _check(spec, num_classes, image_size, dropout_rate, activation)

    from ferplus_keras.models.weights import find_weights, load_weights

    path = None if weights == "none" else find_weights(spec, weights)
    model = _graph(spec, num_classes, image_size, dropout_rate, activation)
    return model, None if path is None else load_weights(model, path, spec)


def _check(spec, num_classes, image_size, dropout_rate, activation) -> None:
    """Refuse settings that no network can be built with.

    Raises:
        UsageError: says which setting, what it may be and what came.
    """
    if num_classes < 2:
        raise UsageError(f"a classifier needs 2 classes or more, not {num_classes}")
    if image_size < spec.min_image_size:
        raise UsageError(
            f"image_size for {spec.name} must be {spec.min_image_size} or more, not {image_size}"
        )
    if not 0 <= dropout_rate < 1:
        raise UsageError(f"dropout_rate must be at least 0 and below 1, not {dropout_rate}")
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)


def _graph(spec: ModelSpec, num_classes, image_size, dropout_rate, activation) -> "keras.Model":
    """Join input, preprocessing, backbone and head into one flat graph, weights random."""
    import keras

    from ferplus_keras.models.head import classify
    from ferplus_keras.models.preprocess import FacePreprocessing

    module, function = spec.backbone.split(":")
    backbone = getattr(import_module(f"ferplus_keras.models.{module}"), function)

    faces = keras.Input((FACE_SIZE, FACE_SIZE), dtype="uint8", name="faces")
    preprocessing = FacePreprocessing(
        image_size, spec.mean, spec.std, spec.crop, spec.equalize, name="preprocessing"
    )
    probabilities = classify(
        backbone(preprocessing(faces)),
        num_classes,
        dropout_rate=dropout_rate,
        activation=activation,
    )
    return keras.Model(faces, probabilities, name=spec.name)
