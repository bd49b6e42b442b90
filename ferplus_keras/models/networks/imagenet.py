"""Networks pretrained on ImageNet: ResNet-50 and ResNet-101 of keras.applications, and ViT-B/16."""

from typing import Any

from ferplus_keras.lazy import keras, layers
from ferplus_keras.models.registry import PublishedWeights, network


def _resnet(file_name: str, md5: str) -> dict[str, Any]:
    """Return what both ResNets share (He et al. 2016, arXiv:1512.03385), and the weights."""
    stem = (
        "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
        f"{file_name}_weights_tf_dim_ordering_tf_kernels"
    )
    weights = PublishedWeights((f"{stem}_notop.h5", f"{stem}.h5"), digest=md5)
    return {
        "channel_order": "bgr",
        "mean": (103.939, 116.779, 123.68),
        "weights": {"imagenet": weights},
        "top_layers": ("predictions", "probs"),  # of today's and the oldest files
    }


@network(
    "ImageNetResNet50",
    description="ResNet-50 of keras.applications, pretrained on ImageNet",
    **_resnet("resnet50", "4d473c1dd8becc155b73f8504c6f6626"),
)
def resnet50(images):
    """ResNet-50 of images (b, s, s, 3): features (b, 2048)."""
    return _pooled(keras.applications.ResNet50, images)


@network(
    "ImageNetResNet101",
    description="ResNet-101 of keras.applications, pretrained on ImageNet",
    **_resnet("resnet101", "88cf7a10940856eca736dc7b7e228a21"),
)
def resnet101(images):
    """ResNet-101 of images (b, s, s, 3): features (b, 2048)."""
    return _pooled(keras.applications.ResNet101, images)


def _pooled(network, images):
    return network(include_top=False, weights=None, input_tensor=images, pooling="avg").output


_BLOCKS = 12
_WIDTH = 768
_HEADS = 12
_PATCH = 16


@network(
    "ViTBase16",
    description="vision transformer ViT-B/16 of keras-hub, pretrained on ImageNet",
    channel_order="rgb",
    mean=(127.5, 127.5, 127.5),
    std=(127.5, 127.5, 127.5),
    weights={
        "imagenet": PublishedWeights(
            folder="models/keras_hub", preset="vit_base_patch16_224_imagenet"
        )
    },
)
def vit_base16(images):
    """Return the class token (b, 1, 768) of images (b, s, s, 3); s a multiple of 16 best.

    Dosovitskiy et al. 2021 (arXiv:2010.11929), as keras-hub's `ViTBackbone`. Its own layers are not
    used, because they cannot be built again from their configuration (0.32), which a checkpoint
    has to; `hdf5.vit_layers` knows which layer of theirs is which here.
    """
    from ferplus_keras.models.layers import PatchTokens

    def normalise(x, name):
        return layers.LayerNormalization(epsilon=1e-6, name=name)(x)

    x = layers.Conv2D(_WIDTH, _PATCH, strides=_PATCH, name="patch_embedding")(images)
    x = layers.Reshape((-1, _WIDTH), name="patches")(x)
    x = PatchTokens(name="tokens")(x)
    for name in (f"block{i}" for i in range(1, _BLOCKS + 1)):
        y = normalise(x, f"{name}_norm1")
        y = layers.MultiHeadAttention(_HEADS, _WIDTH // _HEADS, name=f"{name}_attention")(y, y)
        x = layers.Add(name=f"{name}_add1")([x, y])
        y = normalise(x, f"{name}_norm2")
        y = layers.Dense(4 * _WIDTH, activation="gelu", name=f"{name}_mlp1")(y)
        y = layers.Dense(_WIDTH, name=f"{name}_mlp2")(y)
        x = layers.Add(name=f"{name}_add2")([x, y])
    x = normalise(x, "norm")
    return layers.Cropping1D((0, x.shape[1] - 1), name="class_token")(x)
