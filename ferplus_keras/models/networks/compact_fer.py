"""CompactFER: a small residual network for raw 48x48 faces, to be trained from scratch.

About 1.2 million parameters (2.6 MB as float16) and 100 million multiply-adds per face. Widths
double as the side halves, so that every stage costs the same:

    (b, 48, 48, 1) -> stem (b, 24, 24, 32) -> (b, 24, 24, 64) -> (b, 12, 12, 128)
    -> (b, 6, 6, 256) -> average (b, 256)
"""

from ferplus_keras.models.registry import network


@network(
    "CompactFER",
    description="small residual network for raw faces, 2.6 MB as float16",
    channel_order="grey",
    mean=(128.0,),
    std=(64.0,),
    image_size=48,
    dropout_rate=0.2,
)
def compact_fer(images):
    """Return features (b, 256) of images (b, s, s, c), s a multiple of 8 best."""
    from keras import layers

    x = _convolve(images, 32, "stem_1")
    x = _convolve(x, 32, "stem_2", strides=2)
    for stage, (filters, strides) in enumerate(((64, 1), (128, 2), (256, 2)), start=1):
        x = _residual_block(x, filters, strides, f"stage_{stage}")
    return layers.GlobalAveragePooling2D(name="pool")(x)


def _residual_block(x, filters: int, strides: int, name: str):
    """Add two convolutions, weighed by squeeze and excitation (Hu et al. 2018), to their input.

    A stage that halves the side averages the shortcut before its 1x1 convolution, which then
    sees every pixel (ResNet-D, He et al. 2019).
    """
    from keras import layers

    shortcut = x
    if strides > 1:
        shortcut = layers.AveragePooling2D(strides, padding="same", name=f"{name}_halve")(shortcut)
    shortcut = _convolve(shortcut, filters, f"{name}_shortcut", side=1, relu=False)
    x = _convolve(x, filters, f"{name}_1", strides=strides)
    x = _convolve(x, filters, f"{name}_2", relu=False)
    weight = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_se_squeeze")(x)
    weight = layers.Conv2D(filters // 8, 1, activation="relu", name=f"{name}_se_reduce")(weight)
    weight = layers.Conv2D(filters, 1, activation="sigmoid", name=f"{name}_se_expand")(weight)
    x = layers.Multiply(name=f"{name}_se_scale")([x, weight])
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_out")(x)


def _convolve(x, filters: int, name: str, *, strides: int = 1, side: int = 3, relu: bool = True):
    from keras import layers

    x = layers.Conv2D(
        filters,
        side,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x
