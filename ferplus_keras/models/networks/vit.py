"""ViT-B/16 (Dosovitskiy et al. 2021, arXiv:2010.11929) as one flat graph of plain Keras layers.

The network is keras-hub's `ViTBackbone`; keras-hub's own layers are not used, because they cannot
be built again from their configuration (0.32), which a checkpoint has to. `keras_hub_files` knows
which layer of theirs is which here.

    (b, s, s, 3) -> patches (b, (s // 16)^2, 768) -> tokens (b, 1 + (s // 16)^2, 768)
    -> 12 blocks -> class token (b, 1, 768)
"""

from ferplus_keras.models.registry import PublishedWeights, network

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
    """Return the class token (b, 1, 768) of images (b, s, s, 3); s a multiple of 16 best."""
    from keras import layers

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
