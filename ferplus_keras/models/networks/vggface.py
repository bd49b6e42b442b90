"""The face-recognition backbones of keras-vggface 0.6: ResNet50, SeNet50, VGG16.

Architectures: He et al. 2016 (arXiv:1512.03385), Hu et al. 2018 (arXiv:1709.01507), Parkhi et al.
2015 (Deep Face Recognition), with the weights of Cao et al. 2018 (VGGFace2, arXiv:1710.08092,
CC BY-SA 4.0) as converted by https://github.com/rcmalli/keras-vggface.

Each function maps images (b, s, s, 3) float32 to the pooled feature map (b, h, w, c). Layers are
made in keras-vggface's order, `Add([main, shortcut])` included, which gives `model.layers` the
order it had under Keras 2.2.4: a position here is that position there. Names are those of
Keras 2.2.4 in a fresh session, with '-' for the '/' that Keras 3 refuses in a name.
"""

from collections import Counter

from ferplus_keras.models.registry import PublishedWeights, network

VGGFACE2_MEAN = (91.4953, 103.8827, 131.0912)
"""BGR, as in keras-vggface's `preprocess_input`, version 2."""


def _vggface2(file_name: str) -> dict[str, PublishedWeights]:
    release = "https://github.com/rcmalli/keras-vggface/releases/download/v2.0/rcmalli_vggface_tf_"
    urls = (f"{release}notop_{file_name}.h5", f"{release}{file_name}.h5")
    return {"vggface2": PublishedWeights(urls, "models/vggface")}


@network(
    "ResNet50",
    description="ResNet-50, pretrained on the faces of VGGFace2",
    channel_order="bgr",
    mean=VGGFACE2_MEAN,
    weights=_vggface2("resnet50"),
    top_layers=("classifier",),
    weighted_layers=106,
)
def resnet50(images):
    """ResNet-50 with the stride on each stage's first 1x1 convolution: (b, 1, 1, 2048)."""
    return _residual_network(images, squeeze=False, epsilon=1e-3)


@network(
    "SeNet50",
    description="squeeze-and-excitation ResNet-50, pretrained on the faces of VGGFace2",
    channel_order="bgr",
    mean=VGGFACE2_MEAN,
    weights=_vggface2("senet50"),
    top_layers=("classifier",),
    weighted_layers=138,
)
def senet50(images):
    """ResNet-50 with squeeze-and-excitation in every block: (b, 1, 1, 2048)."""
    return _residual_network(images, squeeze=True, epsilon=1e-4)


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
    """VGG-16 without its fully connected layers: (b, s // 32, s // 32, 512)."""
    from keras import layers

    x = images
    stages = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]
    for stage, (filters, repetitions) in enumerate(stages, start=1):
        for i in range(1, repetitions + 1):
            name = f"conv{stage}_{i}"
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(x)
        x = layers.MaxPooling2D(2, strides=2, name=f"pool{stage}")(x)
    return x


def _residual_network(images, *, squeeze: bool, epsilon: float):
    """ResNet50 or SeNet50; `epsilon` is that of every BatchNormalization."""
    from keras import layers

    counts = Counter()

    def numbered(kind):
        counts[kind] += 1
        return f"{kind}_{counts[kind]}"

    def conv_bn(x, filters, kernel, name, strides=1):
        padding = "valid" if kernel == 1 else "same"
        x = layers.Conv2D(
            filters, kernel, strides=strides, padding=padding, use_bias=False, name=name
        )(x)
        return layers.BatchNormalization(axis=-1, epsilon=epsilon, name=f"{name}-bn")(x)

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
    x = layers.MaxPooling2D(3, strides=2, name=numbered("max_pooling2d"))(x)
    for stage, (filters, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)], start=2):
        for block in range(1, blocks + 1):
            first = block == 1
            strides = 2 if first and stage > 2 else 1
            x = bottleneck(x, filters, f"conv{stage}_{block}", strides, project=first)
    # 7x7 at 224; the whole map at any other size, so that 2048 features are left.
    return layers.AveragePooling2D(x.shape[1:3], name="avg_pool")(x)
