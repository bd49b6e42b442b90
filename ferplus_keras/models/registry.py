"""The one table of networks, and how one of them is built.

Reading the table imports no Keras: command lines list models and check names at once.

To add a network, write a function from images (b, s, s, channels) to a feature map in a module of
this package and give it a row in `MODELS`.
"""

from dataclasses import dataclass, field
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING

from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.errors import UsageError, unknown

if TYPE_CHECKING:
    import keras

    from ferplus_keras.models.weights import LoadedWeights

ACTIVATIONS = ("softmax", "sigmoid")
"""What the head's Dense layer may end in."""

_RELEASE = "https://github.com/rcmalli/keras-vggface/releases/download/v2.0/rcmalli_vggface_tf_"


@dataclass(frozen=True)
class ModelSpec:
    """A network: what it is, how faces are prepared for it and where its weights are published.

    Attributes:
        name: its name on the command line and in `build_model`.
        description: one line for help texts and tables.
        backbone: "module:function" inside `ferplus_keras.models`; the function takes images
            (b, s, s, len(mean)) and returns the feature map. Imported when the network is built.
        mean: grey level (0-255) subtracted in each channel, in the channel order of the weights;
            one number a channel.
        weighted_layers: how many backbone layers carry weights; tells whose checkpoint a file is.
        min_image_size: smallest image the backbone's strides leave a feature map of, in pixels.
        weights: published weights: their name -> URLs, the one to download first. The others are
            used where they lie on disk already.
        top_layers: layers of the published files that classified the original identities and are
            left out.
    """

    name: str
    description: str
    backbone: str
    mean: tuple[float, ...]
    weighted_layers: int
    min_image_size: int = FACE_SIZE
    weights: dict[str, tuple[str, ...]] = field(default_factory=dict)
    top_layers: tuple[str, ...] = ()


def _vggface2(network: str) -> dict[str, tuple[str, ...]]:
    return {"vggface2": (f"{_RELEASE}notop_{network}.h5", f"{_RELEASE}{network}.h5")}


# Means in B, G, R order as in keras-vggface's preprocess_input, version 2 (VGGFace2) and 1
# (VGGFace). The VGGFace2 weights are under CC BY-SA 4.0.
MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            name="ResNet50",
            description="ResNet-50, pretrained on the faces of VGGFace2",
            backbone="vggface:resnet50",
            mean=(91.4953, 103.8827, 131.0912),
            weighted_layers=106,
            weights=_vggface2("resnet50"),
            top_layers=("classifier",),
        ),
        ModelSpec(
            name="SeNet50",
            description="squeeze-and-excitation ResNet-50, pretrained on the faces of VGGFace2",
            backbone="vggface:senet50",
            mean=(91.4953, 103.8827, 131.0912),
            weighted_layers=138,
            weights=_vggface2("senet50"),
            top_layers=("classifier",),
        ),
        ModelSpec(
            name="VGG16",
            description="VGG-16, pretrained on the faces of VGGFace, VGGFace2's predecessor",
            backbone="vggface:vgg16",
            mean=(93.5940, 104.7624, 129.1863),
            weighted_layers=13,
            weights=_vggface2("vgg16"),
            top_layers=("fc6", "fc7", "fc8"),
        ),
    )
}


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
    weights: str | PathLike = "vggface2",
    image_size: int = 224,
    dropout_rate: float = 0.3,
    activation: str = "softmax",
) -> "keras.Model":
    """Build a classifier of 48x48 faces, its backbone pretrained.

    Args:
        name: a name in `MODELS`.
        num_classes: number of classes C.
        weights: "vggface2", the file keras-vggface released for this network (VGG16's was trained
            on VGGFace, the predecessor), searched for and downloaded by `weights.find_weights`;
            "none", random weights; or a path: a Keras 2 weights file with or without its top, a
            checkpoint of the older project (.hdf5) or of this one (.keras).
        image_size: side, in pixels, to which faces are resized inside the graph.
        dropout_rate: share of features dropped before the last layer while training.
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
    weights: str | PathLike = "vggface2",
    image_size: int = 224,
    dropout_rate: float = 0.3,
    activation: str = "softmax",
) -> "tuple[keras.Model, LoadedWeights | None]":
    """Build a classifier as `build_model` does and also say which weights it got.

    Returns:
        The model, and the report on its weights file: path, SHA-256, layers loaded and left out;
        None for `weights="none"`.
    """
    spec = model_spec(name)
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
    images = FacePreprocessing(image_size, spec.mean, name="preprocessing")(faces)
    probabilities = classify(
        backbone(images),
        num_classes,
        dropout_rate=dropout_rate,
        activation=activation,
    )
    return keras.Model(faces, probabilities, name=spec.name)
