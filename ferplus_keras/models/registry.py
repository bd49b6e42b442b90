"""The table of networks: look one up by name, build it, give it its weights.

Reading it imports no Keras: command lines check names at once. A network enters it by `network`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.errors import UsageError, unknown
from ferplus_keras.lazy import keras
from ferplus_keras.registry import Registry


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that somebody publishes for a network: by URL, by keras-hub or in a package."""

    urls: tuple[str, ...] = ()  # the first is downloaded; the others serve where they are on disk
    folder: str = "models"  # where they are looked for and downloaded to, inside Keras' home
    digest: str = ""  # hexadecimal MD5 or SHA-256 of the first file, if its publisher states one
    preset: str = ""  # of keras-hub
    module: str = ""  # Python package; pip knows it by the same name
    module_file: str = ""  # where the file is in that package's folder
    extra: str = ""  # of setup.py, which installs the package

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names of the files on disk, the one to download first."""
        names = tuple(path.rpartition("/")[2] for path in self.urls or [self.module_file] if path)
        return names or (f"{self.preset}.weights.h5",)


def shipped(name: str, digest: str) -> dict[str, PublishedWeights]:
    """Return the entry of weights, fine-tuned on FER+, that this package brings itself."""
    return {
        "ferplus": PublishedWeights(
            folder="models/ferplus",
            digest=digest,
            module="ferplus_keras",
            module_file=f"models/trained/{name}.keras",
        )
    }


@dataclass(frozen=True)
class ModelSpec:
    """A network: what it is, how faces are prepared for it and where its weights are published."""

    name: str  # on the command line and in `build_model`
    backbone: Callable[[keras.KerasTensor], keras.KerasTensor]  # (b, s, s, len(mean)) to (b, ...)
    description: str  # one line for help texts and tables
    channel_order: str  # of its images: "bgr", "rgb" or "grey"
    mean: tuple[float, ...]  # level (0-255) subtracted in each channel
    std: tuple[float, ...] = ()  # by which each channel is then divided; empty for no division
    crop: int = FACE_SIZE  # side in pixels of the centre it sees of a 48x48 face; to scale
    equalize: bool = False  # normalise lighting first (`layers.normalise_lighting`)
    image_size: int = 224  # side to which faces are resized by default, in pixels
    min_image_size: int = FACE_SIZE  # below it no feature map is left, in pixels
    dropout_rate: float = 0.3  # before the last layer, by default
    weights: Mapping[str, PublishedWeights] = field(default_factory=dict)  # the default first
    top_layers: tuple[str, ...] = ()  # of published files, left out: they classify identities
    weighted_layers: int = 0  # of the backbone, in networks of the older project, to know its files

    @property
    def default_weights(self) -> str:
        """Name of the weights it starts from unless others are asked for."""
        return next(iter(self.weights), "none")

    def require_size(self, image_size: int) -> None:
        """Raise UsageError if images of this side, in pixels, are too small for the network."""
        if image_size < self.min_image_size:
            raise UsageError(
                f"image_size for {self.name} must be {self.min_image_size} or more, "
                f"not {image_size}"
            )


MODELS: Registry[ModelSpec] = Registry("model")


def network(name: str, **specification: Any) -> Callable[[Callable], Callable]:
    """Return a decorator that enters a backbone in `MODELS` with these attributes of `ModelSpec`.

    The backbone imports Keras only when called. Every layer has a name without "/", for weights.
    """
    return MODELS.register(name, lambda backbone: ModelSpec(name, backbone, **specification))


def list_models() -> list[str]:
    """Return the names of the networks."""
    return list(MODELS)


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
        weights: a name of published weights, such as "vggface2"; "none", random weights; a run
            folder, its most accurate model; or a file that `weights.load_weights` reads. None is
            the network's published weights where there are any.
        image_size: side, in pixels, to which faces are resized inside the graph.
        dropout_rate: share of features dropped before the last layer while training.
        activation: of the last layer, "softmax" or "sigmoid".
        face_size: side of the faces, in pixels.
        colour: whether faces are RGB instead of grey.

    Returns:
        A model from "faces", (b, face_size, face_size[, 3]) uint8, to (b, C) float32 probabilities.

    Raises:
        UsageError: an unknown name or a setting out of range; nothing was built yet.
        InputError: the weights cannot be found, fetched or read, or do not fit.

    Example:
        >>> model = build_model("ResNet50", 8, weights="none", image_size=48)  # doctest: +SKIP
        >>> model.output_shape  # doctest: +SKIP
        (None, 8)
    """
    spec = MODELS[name]
    image_size = spec.image_size if image_size is None else image_size
    dropout_rate = spec.dropout_rate if dropout_rate is None else dropout_rate
    if num_classes < 2:
        raise UsageError(f"a classifier needs 2 classes or more, not {num_classes}")
    spec.require_size(image_size)
    if not 0 <= dropout_rate < 1:
        raise UsageError(f"dropout_rate must be at least 0 and below 1, not {dropout_rate}")
    if activation not in ("softmax", "sigmoid"):
        raise unknown("activation", activation, ("softmax", "sigmoid"))
    if face_size < 1:
        raise UsageError(f"face_size must be 1 or more, not {face_size}")

    from ferplus_keras.models.published import find_weights
    from ferplus_keras.models.weights import load_weights

    path = find_weights(spec, weights)
    shape = (face_size, face_size, 3) if colour else (face_size, face_size)
    model = _graph(spec, shape, image_size, int(num_classes), dropout_rate, activation)
    if path:
        load_weights(model, path, spec)
    return model


def _graph(spec, shape, image_size, num_classes, dropout_rate, activation) -> keras.Model:
    """Join input, preprocessing, backbone and head into one flat graph, weights random."""
    from ferplus_keras.models.layers import PREPROCESSING, FacePreprocessing, classify

    crop = round(spec.crop * shape[0] / FACE_SIZE)
    usual = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_last")  # whatever the user's keras.json says
    try:
        faces = keras.Input(shape, dtype="uint8", name="faces")
        preparation = (image_size, spec.mean, spec.std, crop, spec.equalize, spec.channel_order)
        images = FacePreprocessing(*preparation, name=PREPROCESSING)(faces)
        probabilities = classify(spec.backbone(images), num_classes, dropout_rate, activation)
    finally:
        keras.config.set_image_data_format(usual)
    return keras.Model(faces, probabilities, name=spec.name)
