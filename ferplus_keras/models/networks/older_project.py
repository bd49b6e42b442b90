"""The networks of the older project: three of keras-vggface 0.6 and two of keras_contrib.

Layers are made in the order of those packages, `Add([main, shortcut])` included, and have the names
of Keras 2.2.4 in a fresh session, with '-' for the '/' that Keras 3 refuses. So a position here is
that position there, and a checkpoint of the older project fits by name.
"""

from collections import defaultdict
from collections.abc import Callable
from itertools import count

from ferplus_keras.lazy import keras, layers
from ferplus_keras.models.networks.convolutional import vgg_stages
from ferplus_keras.models.registry import PublishedWeights, network

_PREPARATION = {"channel_order": "bgr", "mean": (91.4953, 103.8827, 131.0912)}
"""As in keras-vggface's `preprocess_input`, version 2; the older project prepared faces alike
for all its networks."""


def _vggface2(file_name: str) -> dict[str, PublishedWeights]:
    """Weights of Cao et al. 2018 (arXiv:1710.08092, CC BY-SA 4.0), converted by keras-vggface."""
    release = "https://github.com/rcmalli/keras-vggface/releases/download/v2.0/rcmalli_vggface_tf_"
    urls = (f"{release}notop_{file_name}.h5", f"{release}{file_name}.h5")
    return {"vggface2": PublishedWeights(urls, "models/vggface")}


@network(
    "ResNet50",
    description="ResNet-50, pretrained on the faces of VGGFace2",
    **_PREPARATION,
    weights=_vggface2("resnet50"),
    top_layers=("classifier",),
    weighted_layers=106,
)
def resnet50(images):
    """Return features (b, 1, 1, 2048) of images (b, s, s, 3); He et al. 2016, arXiv:1512.03385."""
    return _bottleneck_network(images, squeeze=False, epsilon=1e-3)


@network(
    "SeNet50",
    description="squeeze-and-excitation ResNet-50, pretrained on the faces of VGGFace2",
    **_PREPARATION,
    weights=_vggface2("senet50"),
    top_layers=("classifier",),
    weighted_layers=138,
)
def senet50(images):
    """Return features (b, 1, 1, 2048) of images (b, s, s, 3); Hu et al. 2018, arXiv:1709.01507."""
    return _bottleneck_network(images, squeeze=True, epsilon=1e-4)


@network(
    "VGG16",
    description="VGG-16, pretrained on the faces of VGGFace, VGGFace2's predecessor",
    channel_order="bgr",
    mean=(93.5940, 104.7624, 129.1863),  # version 1 of keras-vggface's `preprocess_input`
    weights=_vggface2("vgg16"),
    top_layers=("fc6", "fc7", "fc8"),
    weighted_layers=13,
)
def vgg16(images):
    """Return the map (b, s // 32, s // 32, 512) of images (b, s, s, 3); Parkhi et al. 2015."""
    return vgg_stages(images, ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)))


@network(
    "ResNet18",
    description="ResNet-18 with pre-activation blocks, from scratch",
    **_PREPARATION,
    weighted_layers=42,
)
def resnet18(images):
    """Return features (b, 512) of images (b, s, s, 3)."""
    return _basic_network(images, (2, 2, 2, 2))


@network(
    "ResNet34",
    description="ResNet-34 with pre-activation blocks, from scratch",
    **_PREPARATION,
    weighted_layers=74,
)
def resnet34(images):
    """Return features (b, 512) of images (b, s, s, 3)."""
    return _basic_network(images, (3, 4, 6, 3))


def _numbering() -> Callable[[str], str]:
    """Return a function that names the layers of each kind as a fresh session of Keras 2 did."""
    counts = defaultdict(lambda: count(1))
    return lambda kind: f"{kind}_{next(counts[kind])}"


def _bottleneck_network(images, *, squeeze: bool, epsilon: float):
    """ResNet50 or SeNet50; `epsilon` is that of every BatchNormalization."""
    numbered = _numbering()

    def conv_bn(x, filters, kernel, name, strides=1):
        padding = "valid" if kernel == 1 else "same"
        x = layers.Conv2D(
            filters, kernel, strides=strides, padding=padding, use_bias=False, name=name
        )(x)
        return layers.BatchNormalization(epsilon=epsilon, name=f"{name}-bn")(x)

    def activate(x, function="relu"):
        return layers.Activation(function, name=numbered("activation"))(x)

    def excite(x, name, ratio=16):
        channels = x.shape[-1]
        gate = layers.GlobalAveragePooling2D(name=numbered("global_average_pooling2d"))(x)
        gate = layers.Reshape((1, 1, channels), name=numbered("reshape"))(gate)
        gate = layers.Conv2D(channels // ratio, 1, name=f"{name}_1x1_down")(gate)
        gate = activate(gate)
        gate = layers.Conv2D(channels, 1, name=f"{name}_1x1_up")(gate)
        gate = activate(gate, "sigmoid")
        return layers.Multiply(name=numbered("multiply"))([x, gate])

    x = activate(conv_bn(images, 64, 7, "conv1-7x7_s2", strides=2))
    x = layers.MaxPooling2D(3, strides=2, name=numbered("max_pooling2d"))(x)
    for stage, (filters, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)], start=2):
        for block in range(1, blocks + 1):
            name = f"conv{stage}_{block}"
            strides = 2 if block == 1 and stage > 2 else 1
            main = activate(conv_bn(x, filters, 1, f"{name}_1x1_reduce", strides))
            main = activate(conv_bn(main, filters, 3, f"{name}_3x3"))
            main = conv_bn(main, 4 * filters, 1, f"{name}_1x1_increase")
            if squeeze:
                main = excite(main, name)
            if block == 1:
                x = conv_bn(x, 4 * filters, 1, f"{name}_1x1_proj", strides)
            x = activate(layers.Add(name=numbered("add"))([main, x]))
    # 7x7 at 224; the whole map at any other size, so that 2048 features are left.
    return layers.AveragePooling2D(x.shape[1:3], name="avg_pool")(x)


def _basic_network(images, blocks: tuple[int, ...]):
    """ResNet18 or ResNet34 with so many pre-activation blocks (arXiv:1603.05027) per stage.

    keras_contrib's own details are kept: the first stage halves the side too; convolutions have
    biases although BatchNormalization follows; a shortcut's projection is normalised.
    """
    numbered = _numbering()

    def convolve(x, filters, side, strides=1, name=None):
        return layers.Conv2D(
            filters,
            side,
            strides=strides,
            padding="valid" if side == 1 else "same",
            kernel_initializer="he_normal",
            kernel_regularizer=keras.regularizers.L2(1e-4),
            name=name or numbered("conv2d"),
        )(x)

    def normalise(x):
        return layers.BatchNormalization(epsilon=1e-3, name=numbered("batch_normalization"))(x)

    def activate(x):
        return layers.Activation("relu", name=numbered("activation"))(normalise(x))

    x = activate(convolve(images, 64, 7, strides=2))
    x = layers.MaxPooling2D(3, strides=2, padding="same", name=numbered("max_pooling2d"))(x)
    for stage, number in enumerate(blocks):
        filters = 64 * 2**stage
        for i in range(number):
            strides = 2 if i == 0 else 1
            # The first block follows the stem's normalisation and ReLU, so it does not repeat them.
            # Its convolution is the only one that keras_contrib gives the name it means to.
            very_first = stage == i == 0
            residual = x if very_first else activate(x)
            name = "res0a_branch2a" if very_first else None
            residual = convolve(residual, filters, 3, strides, name)
            residual = convolve(activate(residual), filters, 3)
            if strides > 1:
                x = normalise(convolve(x, filters, 1, strides))
            x = layers.Add(name=numbered("add"))([x, residual])
    return layers.GlobalAveragePooling2D(name=numbered("global_average_pooling2d"))(activate(x))
