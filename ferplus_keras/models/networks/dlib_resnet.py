"""DlibResNet: dlib's residual network for face recognition, without its last block.

Davis King's network of 29 convolutions, trained on 3 million faces of 7,485 people and published as
CC0 1.0 (https://github.com/davisking/dlib-models). The last block and the descriptor are left out,
since the map before them tells expressions better.
"""

from ferplus_keras.lazy import layers
from ferplus_keras.models.dlib_files import DESCRIPTOR, EPSILON, STAGES
from ferplus_keras.models.registry import PublishedWeights, network, shipped

_LAST = f"stage{len(STAGES)}_block1"


@network(
    "DlibResNet",
    description="dlib's residual network, pretrained on faces; its weights come by pip",
    channel_order="rgb",
    mean=(122.782, 117.001, 104.298),
    std=(256.0, 256.0, 256.0),
    image_size=112,
    min_image_size=55,
    dropout_rate=0.2,
    weights={
        "dlib": PublishedWeights(
            folder="models/dlib",
            digest="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
            module="face_recognition_models",
            module_file="models/dlib_face_recognition_resnet_model_v1.dat",
            extra="dlib",
        ),
        **shipped(
            "dlib_resnet", "8431ffe6e952f1b8c23faf21cd1ccdb923c0688dc993fa19c382dc171c16a163"
        ),
    },
    top_layers=(*(f"{_LAST}_{part}{i}" for i in (1, 2) for part in ("conv", "bn")), DESCRIPTOR),
)
def dlib_resnet(images):
    """Return features (b, 256) of images (b, s, s, 3); 150 million multiply-adds at 112 pixels."""
    return layers.GlobalAveragePooling2D(name="pool")(feature_map(images, len(STAGES) - 1))


def feature_map(images, stages: int):
    """Return the map (b, h, w, c) behind so many stages; all of them are dlib's network."""
    from ferplus_keras.models.layers import PaddedAdd

    def convolve(x, filters, name, side=3, strides=1):
        x = layers.Conv2D(
            filters,
            side,
            strides=strides,
            padding="valid" if strides > 1 else "same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=name.format("conv"),
        )(x)
        return layers.BatchNormalization(momentum=0.9, epsilon=EPSILON, name=name.format("bn"))(x)

    x = convolve(images, 32, "stem_{}", side=7, strides=2)
    x = layers.ReLU(name="stem_relu")(x)
    x = layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)
    for stage, (filters, blocks) in enumerate(STAGES[:stages], start=1):
        for block in range(1, blocks + 1):
            name, strides = f"stage{stage}_block{block}", 2 if stage > 1 and block == 1 else 1
            main = convolve(x, filters, f"{name}_{{}}1", strides=strides)
            main = layers.ReLU(name=f"{name}_relu1")(main)
            main = convolve(main, filters, f"{name}_{{}}2")
            add = layers.Add
            if strides > 1:
                x = layers.AveragePooling2D(strides, name=f"{name}_pool")(x)
                add = PaddedAdd
            x = add(name=f"{name}_add")([main, x])
            x = layers.ReLU(name=f"{name}_relu2")(x)
    return x
