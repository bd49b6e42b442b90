"""Networks for expressions that are trained from scratch."""

from ferplus_keras.lazy import layers
from ferplus_keras.models.registry import network, shipped


@network(
    "CompactFER",
    description="small residual network for raw faces, 2.6 MB as float16",
    channel_order="grey",
    mean=(128.0,),
    std=(64.0,),
    image_size=48,
    dropout_rate=0.2,
    weights=shipped(
        "compact_fer", "f55a076f05af29b270d4dfa4ccfe4f353563c71d1ca8035faf71b0a15d118e83"
    ),
)
def compact_fer(images):
    """Return features (b, 256) of images (b, s, s, 1), s a multiple of 8 best.

    About 1.2 million parameters and 100 million multiply-adds per face. Widths double as the side
    halves, so that every stage costs the same: (24, 24, 64) -> (12, 12, 128) -> (6, 6, 256).
    """
    x = _convolve(images, 32, "stem_1")
    x = _convolve(x, 32, "stem_2", strides=2)
    for stage, (filters, strides) in enumerate(((64, 1), (128, 2), (256, 2)), start=1):
        x = _residual_block(x, filters, strides, f"stage_{stage}")
    return layers.GlobalAveragePooling2D(name="pool")(x)


@network(
    "FastFER",
    description="small residual network for 8-bit integers, two thirds of CompactFER's cost",
    channel_order="grey",
    mean=(128.0,),
    std=(64.0,),
    image_size=48,
    dropout_rate=0.1,
    weights=shipped("fast_fer", "bbac78cf98cec9a8e58d80b53d67baa587c785a2e747f4b29f97766921391db1"),
)
def fast_fer(images):
    """Return features (b, 192) of images (b, s, s, 1), s a multiple of 8 best.

    1.4 million parameters and 72 million multiply-adds per face. The first convolution halves the
    side already, and no layer waits for the whole map: (24, 24, 32) -> (12, 12, 96) -> (6, 6, 192).
    """
    x = _convolve(images, 32, "stem", strides=2)
    for block, (filters, strides) in enumerate(((32, 1), (96, 2), (192, 2), (192, 1)), start=1):
        x = _residual_block(x, filters, strides, f"block_{block}", squeeze=False)
    return layers.GlobalAveragePooling2D(name="pool")(x)


def _residual_block(x, filters: int, strides: int, name: str, *, squeeze: bool = True):
    """Add two convolutions to their input, weighed by squeeze and excitation (Hu et al. 2018)."""
    shortcut = x
    if strides > 1:
        # Averaged first, so that the 1x1 convolution sees every pixel (ResNet-D, He et al. 2019).
        shortcut = layers.AveragePooling2D(strides, padding="same", name=f"{name}_halve")(x)
    shortcut = _convolve(shortcut, filters, f"{name}_shortcut", side=1, relu=False)
    x = _convolve(x, filters, f"{name}_1", strides=strides)
    x = _convolve(x, filters, f"{name}_2", relu=False)
    if squeeze:
        weight = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_se_squeeze")(x)
        weight = layers.Conv2D(filters // 8, 1, activation="relu", name=f"{name}_se_reduce")(weight)
        weight = layers.Conv2D(filters, 1, activation="sigmoid", name=f"{name}_se_expand")(weight)
        x = layers.Multiply(name=f"{name}_se_scale")([x, weight])
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_out")(x)


def _convolve(x, filters: int, name: str, *, strides: int = 1, side: int = 3, relu: bool = True):
    x = layers.Conv2D(
        filters,
        side,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = _normalise(x, f"{name}_bn")
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


@network(
    "DeepFaceCNN",
    description="small network of deepface, 1.5 million parameters",
    channel_order="grey",
    mean=(0.0,),
    std=(255.0,),
    image_size=48,
    dropout_rate=0.2,
)
def deep_face_cnn(images):
    """Return features (b, 1024) of images (b, s, s, 1).

    After https://github.com/serengil/deepface. Overlapping pools and valid convolutions shrink a
    48x48 face to one pixel of 128 features: 48 -> 44 -> 20 -> 18 -> 16 -> 7 -> 5 -> 3 -> 1.
    """
    x = layers.Conv2D(64, 5, activation="relu", name="conv1")(images)
    x = layers.MaxPooling2D(5, strides=2, name="pool1")(x)
    for stage, filters in ((2, 64), (3, 128)):
        for part in "ab":
            x = layers.Conv2D(filters, 3, activation="relu", name=f"conv{stage}{part}")(x)
        x = layers.AveragePooling2D(3, strides=2, name=f"pool{stage}")(x)
    return _fully_connected(x, (1024, 1024), 0.2)


@network(
    "FaceEmotionCNN",
    description="seven valid convolutions on raw faces, by shangeth",
    channel_order="grey",
    mean=(129.3859,),
    std=(65.0579,),
    image_size=48,
)
def face_emotion_cnn(images):
    """Return features (b, 256) of images (b, s, s, 1).

    After https://github.com/shangeth/Facial-Emotion-Recognition-PyTorch-ONNX. The first four pools
    have stride 1, so that the side shrinks slowly: 48 -> 45 -> 42 -> 39 -> 36 -> 17 -> 7 -> 2.
    """
    x = images
    for i, filters in enumerate((8, 16, 32, 64, 128, 256, 256), start=1):
        x = layers.Conv2D(filters, 3, name=f"conv{i}")(x)
        if i in (2, 4, 6, 7):
            x = layers.Dropout(0.3, name=f"drop{i}")(x)
        x = _normalise(x, f"bn{i}")
        x = layers.MaxPooling2D(2, strides=1 if i < 5 else 2, name=f"pool{i}")(x)
        x = layers.ReLU(name=f"relu{i}")(x)
    return _fully_connected(x, (512, 256), 0.3)


@network(
    "FerVGG",
    description="VGG with normalisation on 40x40 crops, 73.28 % on FER2013",
    channel_order="grey",
    mean=(0.0,),
    std=(255.0,),
    crop=40,
    image_size=40,
    min_image_size=16,
    dropout_rate=0.2,
)
def fer_vgg(images):
    """Return features (b, 4096) of images (b, s, s, 1).

    The VGG variant of Khaireddin & Chen 2021 (arXiv:2105.03588), after
    https://github.com/usef-kh/fer.
    """
    x = images
    for stage, filters in enumerate((64, 128, 256, 512), start=1):
        for part in "ab":
            x = layers.Conv2D(filters, 3, padding="same", name=f"conv{stage}{part}")(x)
            x = _normalise(x, f"bn{stage}{part}")
            x = layers.ReLU(name=f"relu{stage}{part}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{stage}")(x)
    return _fully_connected(x, (4096, 4096), 0.2)


_ARYAN_GARG = {"channel_order": "rgb", "mean": (0.0,) * 3, "std": (255.0,) * 3, "dropout_rate": 0.0}
"""The baselines of https://github.com/Aryan-Garg/Fast-Facial-Expression-Recognition; they see faces
enlarged to 224x224 pixels, so that nearly all parameters lie in the first dense layer."""


@network(
    "ScratchCNN",
    description="three convolutions and wide dense layers, a baseline by Aryan Garg",
    **_ARYAN_GARG,
)
def scratch_cnn(images):
    """Return features (b, 512) of images (b, s, s, 3)."""
    x = images
    for i, filters in enumerate((16, 32, 64), start=1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{i}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{i}")(x)
    return _fully_connected(x, (1024, 512))


@network(
    "ScratchMLP",
    description="one hidden layer on all pixels, a baseline by Aryan Garg",
    **_ARYAN_GARG,
)
def scratch_mlp(images):
    """Return features (b, 1024) of images (b, s, s, 3)."""
    return _fully_connected(images, (1024,))


@network(
    "VGG13",
    description="VGG-13 of the FER+ paper, for faces whose lighting is normalised",
    channel_order="grey",
    mean=(0.0,),
    equalize=True,
    image_size=64,
    dropout_rate=0.5,
)
def vgg13(images):
    """Return features (b, 1024) of images (b, s, s, 1).

    Barsoum et al. 2016 (arXiv:1608.01041), after https://github.com/microsoft/FERPlus.
    """
    x = vgg_stages(images, ((64, 2), (128, 2), (256, 3), (256, 3)), dropout=0.25)
    return _fully_connected(x, (1024, 1024), 0.5, names=("fc5", "drop5", "fc6"))


def vgg_stages(x, stages, dropout=0.0):
    """Return the map behind VGG's stages, each (filters, number of convolutions) and a pool."""
    for stage, (filters, repetitions) in enumerate(stages, start=1):
        for i in range(1, repetitions + 1):
            name = f"conv{stage}_{i}"
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(x)
        x = layers.MaxPooling2D(2, name=f"pool{stage}")(x)
        if dropout:
            x = layers.Dropout(dropout, name=f"drop{stage}")(x)
    return x


def _normalise(x, name):
    # PyTorch's defaults.
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


def _fully_connected(x, widths, dropout=0.0, names=("fc1", "fc1_drop", "fc2")):
    """Return the features of one or two dense layers, with dropout between them if any."""
    first, drop, second = names
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(widths[0], activation="relu", name=first)(x)
    if dropout:
        x = layers.Dropout(dropout, name=drop)(x)
    return layers.Dense(widths[1], activation="relu", name=second)(x) if widths[1:] else x
