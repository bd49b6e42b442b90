"""ResNet18 and ResNet34 as the older project took them from keras_contrib.

Pre-activation residual networks of basic blocks (He et al. 2016, arXiv:1603.05027), to be trained
from scratch. Details that are keras_contrib's own are kept: the first stage halves the side too, so
that 224x224 ends at 4x4; convolutions have biases although BatchNormalization follows; the
projection of a shortcut is normalised; an l2 penalty of 1e-4 applies to every kernel.

Layers are made in keras_contrib's order and have the names of Keras 2.2.4 in a fresh session, so
that a checkpoint of the older project fits by name.
"""

from collections import Counter

from ferplus_keras.models.registry import network

_VGGFACE2_MEAN = (91.4953, 103.8827, 131.0912)
"""BGR; the older project prepared faces alike for all its networks."""


@network(
    "ResNet18",
    description="ResNet-18 with pre-activation blocks, from scratch",
    channel_order="bgr",
    mean=_VGGFACE2_MEAN,
    weighted_layers=42,
)
def resnet18(images):
    """ResNet-18 of images (b, s, s, c): features (b, 512)."""
    return _residual_network(images, (2, 2, 2, 2))


@network(
    "ResNet34",
    description="ResNet-34 with pre-activation blocks, from scratch",
    channel_order="bgr",
    mean=_VGGFACE2_MEAN,
    weighted_layers=74,
)
def resnet34(images):
    """ResNet-34 of images (b, s, s, c): features (b, 512)."""
    return _residual_network(images, (3, 4, 6, 3))


def _residual_network(images, blocks):
    """Return pooled features; `blocks` is the number of residual blocks of each stage."""
    from keras import layers, regularizers

    counts = Counter()

    def numbered(kind):
        counts[kind] += 1
        return f"{kind}_{counts[kind]}"

    def convolve(x, filters, side, strides=1, name=None):
        return layers.Conv2D(
            filters,
            side,
            strides=strides,
            padding="valid" if side == 1 else "same",
            kernel_initializer="he_normal",
            kernel_regularizer=regularizers.L2(1e-4),
            name=name or numbered("conv2d"),
        )(x)

    def normalise(x):
        name = numbered("batch_normalization")
        return layers.BatchNormalization(axis=-1, epsilon=1e-3, name=name)(x)

    def activate(x):
        return layers.Activation("relu", name=numbered("activation"))(normalise(x))

    def block(x, filters, strides, very_first):
        # The first block follows the stem's normalisation and ReLU, so it does not repeat them.
        # Its convolution is the only one that keras_contrib gives the name it means to.
        residual = x if very_first else activate(x)
        name = "res0a_branch2a" if very_first else None
        residual = convolve(residual, filters, 3, strides, name)
        residual = convolve(activate(residual), filters, 3)
        if strides > 1:
            x = normalise(convolve(x, filters, 1, strides))
        return layers.Add(name=numbered("add"))([x, residual])

    x = activate(convolve(images, 64, 7, strides=2))
    x = layers.MaxPooling2D(3, strides=2, padding="same", name=numbered("max_pooling2d"))(x)
    for stage, count in enumerate(blocks):
        for i in range(count):
            x = block(x, 64 * 2**stage, 2 if i == 0 else 1, very_first=stage == i == 0)
    return layers.GlobalAveragePooling2D(name=numbered("global_average_pooling2d"))(activate(x))
