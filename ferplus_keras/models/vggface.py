"""The face-recognition backbones of keras-vggface 0.6: ResNet50, SeNet50, VGG16.

Architectures: He et al. 2016 (arXiv:1512.03385), Hu et al. 2018 (arXiv:1709.01507), Parkhi et al.
2015 (Deep Face Recognition), with the weights of Cao et al. 2018 (VGGFace2, arXiv:1710.08092) as
converted by https://github.com/rcmalli/keras-vggface.

Each function maps images (b, s, s, 3) float32 to the pooled feature map (b, h, w, c). Layers are
made in keras-vggface's order, `Add([main, shortcut])` included, which gives `model.layers` the
order it had under Keras 2.2.4: a position here is that position there. Names are those of
Keras 2.2.4 in a fresh session, with '-' for the '/' that Keras 3 refuses in a name.
"""

from keras import KerasTensor, layers

from ferplus_keras.models.keras2_names import Numbered

_CHANNELS = {"data_format": "channels_last"}


def resnet50(images: KerasTensor) -> KerasTensor:
    """ResNet-50 with the stride on each stage's first 1x1 convolution: (b, 1, 1, 2048)."""
    return _residual_network(images, squeeze=False, epsilon=1e-3)


def senet50(images: KerasTensor) -> KerasTensor:
    """ResNet-50 with squeeze-and-excitation in every block: (b, 1, 1, 2048)."""
    return _residual_network(images, squeeze=True, epsilon=1e-4)


def vgg16(images: KerasTensor) -> KerasTensor:
    """VGG-16 without its fully connected layers: (b, s // 32, s // 32, 512)."""
    x = images
    stages = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]
    for stage, (filters, repetitions) in enumerate(stages, start=1):
        for i in range(1, repetitions + 1):
            x = layers.Conv2D(
                filters, 3, padding="same", activation="relu", name=f"conv{stage}_{i}", **_CHANNELS
            )(x)
        x = layers.MaxPooling2D(2, strides=2, name=f"pool{stage}", **_CHANNELS)(x)
    return x


def _residual_network(images, *, squeeze: bool, epsilon: float):
    """ResNet50 or SeNet50; `epsilon` is the BatchNormalizations'."""
    numbered = Numbered()

    def conv_bn(x, filters, kernel, name, strides=1):
        x = layers.Conv2D(
            filters,
            kernel,
            strides=strides,
            padding="valid" if kernel == 1 else "same",
            use_bias=False,
            name=name,
            **_CHANNELS,
        )(x)
        return layers.BatchNormalization(axis=-1, epsilon=epsilon, name=f"{name}-bn")(x)

    def activate(x, function="relu"):
        return layers.Activation(function, name=numbered("activation"))(x)

    def excite(x, name, ratio=16):
        channels = x.shape[-1]
        gate = layers.GlobalAveragePooling2D(
            name=numbered("global_average_pooling2d"), **_CHANNELS
        )(x)
        gate = layers.Reshape((1, 1, channels), name=numbered("reshape"))(gate)
        gate = layers.Conv2D(channels // ratio, 1, name=f"{name}_1x1_down", **_CHANNELS)(gate)
        gate = activate(gate)
        gate = layers.Conv2D(channels, 1, name=f"{name}_1x1_up", **_CHANNELS)(gate)
        gate = activate(gate, "sigmoid")
        return layers.Multiply(name=numbered("multiply"))([x, gate])

    def bottleneck(x, filters, name, strides, project):
        main = activate(conv_bn(x, filters, 1, f"{name}_1x1_reduce", strides))
        main = activate(conv_bn(main, filters, 3, f"{name}_3x3"))
        main = conv_bn(main, 4 * filters, 1, f"{name}_1x1_increase")
        if squeeze:
            main = excite(main, name)
        if project:
            x = conv_bn(x, 4 * filters, 1, f"{name}_1x1_proj", strides)
        return activate(layers.Add(name=numbered("add"))([main, x]))

    x = activate(conv_bn(images, 64, 7, "conv1-7x7_s2", strides=2))
    x = layers.MaxPooling2D(3, strides=2, name=numbered("max_pooling2d"), **_CHANNELS)(x)
    for stage, (filters, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)], start=2):
        for block in range(1, blocks + 1):
            first = block == 1
            strides = 2 if first and stage > 2 else 1
            x = bottleneck(x, filters, f"conv{stage}_{block}", strides, project=first)
    # 7x7 at 224; the whole map at any other size, so that 2048 features are left.
    return layers.AveragePooling2D(x.shape[1:3], name="avg_pool", **_CHANNELS)(x)
