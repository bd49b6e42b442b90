"""The table of networks: look one up by name, build it, give it its weights.

Reading it imports no Keras: command lines check names at once. A network enters it by `network`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any

from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.errors import UsageError, unknown
from ferplus_keras.registry import Registry

if TYPE_CHECKING:
    import keras

    from ferplus_keras.models.weights import LoadedWeights

ACTIVATIONS = ("softmax", "sigmoid")
"""What the head's Dense layer may end in."""


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that somebody publishes for a network.

    Attributes:
        urls: files of them, the one to download first. The others are used where they lie on disk
            already.
        folder: where they are looked for and downloaded to, inside Keras' home.
        digest: hexadecimal MD5 or SHA-256 of the first file, where its publisher states one.
        preset: keras-hub preset that they are taken from instead of a URL.
    """

    urls: tuple[str, ...] = ()
    folder: str = "models"
    digest: str = ""
    preset: str = ""

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names of the files on disk, the one to download first."""
        names = tuple(url.rpartition("/")[2] for url in self.urls)
        return names or (f"{self.preset}.weights.h5",)


@dataclass(frozen=True)
class ModelSpec:
    """A network: what it is, how faces are prepared for it and where its weights are published.

    Attributes:
        name: its name on the command line and in `build_model`.
        backbone: function from images (b, s, s, len(mean)) to features (b, ...).
        description: one line for help texts and tables.
        channel_order: of its images: "bgr", "rgb" or "grey".
        mean: grey level (0-255) subtracted in each channel.
        std: grey levels by which each channel is divided then; empty for no division.
        crop: side, in pixels, of the centre of a 48x48 face that the network looks at; of other
            faces the same share.
        equalize: whether the lighting is normalised first, by `layers.normalise_lighting`.
        image_size: side to which faces are resized unless another is asked for, in pixels.
        min_image_size: smallest image the backbone's strides leave a feature map of, in pixels.
        dropout_rate: dropout before the last layer unless another is asked for.
        weights: published weights by name, the default first.
        top_layers: layers of the published files that classified the original identities and are
            left out.
        weighted_layers: number of backbone layers with weights, by which a checkpoint of the older
            project is recognised; 0 for a network that the older project does not have.
    """

    name: str
    backbone: Callable[[keras.KerasTensor], keras.KerasTensor]
    description: str
    channel_order: str
    mean: tuple[float, ...]
    std: tuple[float, ...] = ()
    crop: int = FACE_SIZE
    equalize: bool = False
    image_size: int = 224
    min_image_size: int = FACE_SIZE
    dropout_rate: float = 0.3
    weights: Mapping[str, PublishedWeights] = field(default_factory=dict)
    top_layers: tuple[str, ...] = ()
    weighted_layers: int = 0

    @property
    def default_weights(self) -> str:
        """Name of the weights it starts from unless others are asked for."""
        return next(iter(self.weights), "none")


MODELS: Registry[ModelSpec] = Registry("model")


def network(name: str, **specification: Any) -> Callable[[Callable], Callable]:
    """Return a decorator that enters a backbone in `MODELS`.

    The function imports Keras when it is called, not before. Every layer has a name of its own,
    without "/", since weights are loaded by name.

    Args:
        name: the network's name.
        **specification: attributes of `ModelSpec`.

    Example:
        >>> @network("OneLayer", description="an example", channel_order="grey", mean=(128.0,))
        ... def one_layer(images):
        ...     from keras import layers
        ...
        ...     return layers.Conv2D(8, 3, name="conv")(images)
        >>> MODELS.pop("OneLayer").image_size
        224
    """

    def enter(backbone: Callable) -> Callable:
        MODELS[name] = ModelSpec(name, backbone, **specification)
        return backbone

    return enter


def list_models() -> list[str]:
    """Return the names of the networks."""
    return list(MODELS)


def model_spec(name: str) -> ModelSpec:
    """Return a network's specification.

    Raises:
        UsageError: there is no network of that name.
    """
    return MODELS[name]


def build_model(
    name: str,
    num_classes: int,
    *,
    weights: str | PathLike | None = None,
    image_size: int | None = None,
    dropout_rate: float | None = None,
    activation: str = "softmax",
    face_size: int = FACE_SIZE,
    colour: bool = False,
) -> keras.Model:
    """Build a classifier of faces, its backbone pretrained.

    Args:
        name: a name in `MODELS`.
        num_classes: number of classes C.
        weights: a name of published weights (such as "vggface2", the file keras-vggface released
            for this network; VGG16's was trained on VGGFace, the predecessor), searched for and
            downloaded by `weights.find_weights`; "none", random weights; a run folder, its most
            accurate model; or a path: a Keras 2 weights file with or without its top, a checkpoint
            of the older project (.hdf5) or of this one (.keras), keras-hub's file for ViTBase16
            (.weights.h5). None is the network's published weights where there are any.
        image_size: side, in pixels, to which faces are resized inside the graph; None is the
            network's own.
        dropout_rate: share of features dropped before the last layer while training; None is the
            network's own.
        activation: "softmax" or "sigmoid".
        face_size: side of the faces, in pixels.
        colour: whether faces are RGB instead of grey.

    Returns:
        A model from "faces", (b, face_size, face_size) uint8, with a last axis of 3 in colour, to
        (b, C) float32 probabilities.

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
        face_size=face_size,
        colour=colour,
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
    face_size: int = FACE_SIZE,
    colour: bool = False,
) -> tuple[keras.Model, LoadedWeights | None]:
    """Build a classifier as `build_model` does and also say which weights it got.

    Returns:
        The model, and the report on its weights file: path, SHA-256, layers loaded and left out;
        None for `weights="none"`.
    """
    spec = model_spec(name)
    weights = spec.default_weights if weights is None else weights
    image_size = spec.image_size if image_size is None else image_size
    dropout_rate = spec.dropout_rate if dropout_rate is None else dropout_rate
    if num_classes < 2:
        raise UsageError(f"a classifier needs 2 classes or more, not {num_classes}")
    if image_size < spec.min_image_size:
        raise UsageError(
            f"image_size for {name} must be {spec.min_image_size} or more, not {image_size}"
        )
    if not 0 <= dropout_rate < 1:
        raise UsageError(f"dropout_rate must be at least 0 and below 1, not {dropout_rate}")
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    if face_size < 1:
        raise UsageError(f"face_size must be 1 or more, not {face_size}")

    from ferplus_keras.models.weights import find_weights, load_weights

    path = None if weights == "none" else find_weights(spec, weights)
    shape = (face_size, face_size, 3) if colour else (face_size, face_size)
    model = _graph(spec, shape, image_size, num_classes, dropout_rate, activation)
    return model, None if path is None else load_weights(model, path, spec)


def _graph(spec, shape, image_size, num_classes, dropout_rate, activation) -> keras.Model:
    """Join input, preprocessing, backbone and head into one flat graph, weights random."""
    import keras

    from ferplus_keras.models.head import classify
    from ferplus_keras.models.layers import FacePreprocessing

    with _channels_last():
        faces = keras.Input(shape, dtype="uint8", name="faces")
        preprocessing = FacePreprocessing(
            image_size,
            spec.mean,
            spec.std,
            round(spec.crop * shape[0] / FACE_SIZE),
            spec.equalize,
            spec.channel_order,
            name="preprocessing",
        )
        probabilities = classify(
            spec.backbone(preprocessing(faces)),
            num_classes,
            dropout_rate=dropout_rate,
            activation=activation,
        )
    return keras.Model(faces, probabilities, name=spec.name)


@contextmanager
def _channels_last() -> Iterator[None]:
    """Let layers take (b, h, w, channels) whatever the user's keras.json says."""
    from keras import config

    usual = config.image_data_format()
    config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        config.set_image_data_format(usual)
