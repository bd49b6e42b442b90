"""ViT-B/16 (Dosovitskiy et al. 2021, arXiv:2010.11929) as one flat graph of plain Keras layers.

The network is keras-hub's `ViTBackbone`; keras-hub's own layers are not used, because they cannot
be built again from their configuration (0.32), which a checkpoint has to. `keras_hub_files` knows
which layer of theirs is which here.

    (b, s, s, 3) -> patches (b, (s // 16)^2, 768) -> tokens (b, 1 + (s // 16)^2, 768)
    -> 12 blocks -> class token (b, 1, 768)
"""

import keras
from keras import KerasTensor, layers

_PATCH = 16
_WIDTH = 768
_HEADS = 12
_EPSILON = 1e-6
BLOCKS = 12
"""Number of encoder blocks."""


@keras.saving.register_keras_serializable(package="ferplus_keras")
class PatchTokens(layers.Layer):
    """Put a learned class token before the patches and add a learned position to every token.

    Call arguments:
        patches: (b, n, width) float.

    Returns:
        (b, 1 + n, width) float.
    """

    def build(self, input_shape):
        """Create the class token (1, 1, width) and the positions (1 + n, width)."""
        _, patches, width = input_shape
        self.class_token = self.add_weight(
            shape=(1, 1, width), initializer="random_normal", name="class_token"
        )
        self.positions = self.add_weight(
            shape=(1 + patches, width),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="positions",
        )

    def call(self, patches):
        """Return the tokens for (b, n, width) patches."""
        first = keras.ops.broadcast_to(
            self.class_token, (keras.ops.shape(patches)[0], 1, patches.shape[-1])
        )
        return keras.ops.concatenate([first, patches], axis=1) + self.positions

    def compute_output_shape(self, input_shape):
        """Return (b, 1 + n, width)."""
        batch, patches, width = input_shape
        return (batch, 1 + patches, width)


def vit_base16(images: KerasTensor) -> KerasTensor:
    """Return the class token (b, 1, 768) of images (b, s, s, 3); s a multiple of 16 best."""
    x = layers.Conv2D(
        _WIDTH, _PATCH, strides=_PATCH, name="patch_embedding", data_format="channels_last"
    )(images)
    x = layers.Reshape((-1, _WIDTH), name="patches")(x)
    x = PatchTokens(name="tokens")(x)
    for i in range(1, BLOCKS + 1):
        x = _encoder_block(x, f"block{i}")
    x = layers.LayerNormalization(epsilon=_EPSILON, name="norm")(x)
    return layers.Cropping1D((0, x.shape[1] - 1), name="class_token")(x)


def _encoder_block(x, name: str):
    attended = layers.LayerNormalization(epsilon=_EPSILON, name=f"{name}_norm1")(x)
    attended = layers.MultiHeadAttention(_HEADS, _WIDTH // _HEADS, name=f"{name}_attention")(
        attended, attended
    )
    x = layers.Add(name=f"{name}_add1")([x, attended])
    y = layers.LayerNormalization(epsilon=_EPSILON, name=f"{name}_norm2")(x)
    y = layers.Dense(4 * _WIDTH, activation="gelu", name=f"{name}_mlp1")(y)
    y = layers.Dense(_WIDTH, name=f"{name}_mlp2")(y)
    return layers.Add(name=f"{name}_add2")([x, y])
