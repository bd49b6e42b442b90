"""FerVGG: the VGG variant of Khaireddin & Chen 2021 (arXiv:2105.03588), 73.28 % on FER2013.

After https://github.com/usef-kh/fer: four stages of two 3x3 convolutions with BatchNormalization
on 40x40 crops, which end at 2x2x512, and two wide fully connected layers.
"""

from keras import KerasTensor, layers

_CHANNELS = {"data_format": "channels_last"}


def fer_vgg(images: KerasTensor) -> KerasTensor:
    """Return features (b, 4096) of images (b, s, s, 1)."""
    x = images
    for stage, filters in enumerate((64, 128, 256, 512), start=1):
        for part in "ab":
            x = layers.Conv2D(filters, 3, padding="same", name=f"conv{stage}{part}", **_CHANNELS)(x)
            # PyTorch's defaults.
            x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"bn{stage}{part}")(x)
            x = layers.ReLU(name=f"relu{stage}{part}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{stage}", **_CHANNELS)(x)
    x = layers.Flatten(name="flatten", **_CHANNELS)(x)
    x = layers.Dense(4096, activation="relu", name="fc1")(x)
    x = layers.Dropout(0.2, name="fc1_drop")(x)
    return layers.Dense(4096, activation="relu", name="fc2")(x)
