"""VGG13 of Barsoum et al. 2016 (arXiv:1608.01041), who published the FER+ labels.

After https://github.com/microsoft/FERPlus: ten 3x3 convolutions without BatchNormalization on
64x64 grey faces whose light is evened out (`illumination`), with much dropout.
"""

from keras import KerasTensor, layers

_CHANNELS = {"data_format": "channels_last"}


def vgg13(images: KerasTensor) -> KerasTensor:
    """Return features (b, 1024) of images (b, s, s, 1)."""
    x = images
    for stage, (filters, repetitions) in enumerate(((64, 2), (128, 2), (256, 3), (256, 3)), 1):
        for i in range(1, repetitions + 1):
            x = layers.Conv2D(
                filters, 3, padding="same", activation="relu", name=f"conv{stage}_{i}", **_CHANNELS
            )(x)
        x = layers.MaxPooling2D(2, name=f"pool{stage}", **_CHANNELS)(x)
        x = layers.Dropout(0.25, name=f"drop{stage}")(x)
    x = layers.Flatten(name="flatten", **_CHANNELS)(x)
    x = layers.Dense(1024, activation="relu", name="fc5")(x)
    x = layers.Dropout(0.5, name="drop5")(x)
    return layers.Dense(1024, activation="relu", name="fc6")(x)
