"""ScratchCNN and ScratchMLP: the two baselines of Aryan Garg's comparison on FER2013.

After https://github.com/Aryan-Garg/Fast-Facial-Expression-Recognition, where they stand beside
fine-tuned networks of ImageNet. Nearly all of their parameters lie in the first fully connected
layer, which sees 224x224 pixels enlarged from 48x48.
"""

from keras import KerasTensor, layers

_CHANNELS = {"data_format": "channels_last"}


def scratch_cnn(images: KerasTensor) -> KerasTensor:
    """Return features (b, 512) of images (b, s, s, c)."""
    x = images
    for i, filters in enumerate((16, 32, 64), start=1):
        x = layers.Conv2D(
            filters, 3, padding="same", activation="relu", name=f"conv{i}", **_CHANNELS
        )(x)
        x = layers.MaxPooling2D(2, name=f"pool{i}", **_CHANNELS)(x)
    x = layers.Flatten(name="flatten", **_CHANNELS)(x)
    x = layers.Dense(1024, activation="relu", name="fc1")(x)
    return layers.Dense(512, activation="relu", name="fc2")(x)


def scratch_mlp(images: KerasTensor) -> KerasTensor:
    """Return features (b, 1024) of images (b, s, s, c)."""
    x = layers.Flatten(name="flatten", **_CHANNELS)(images)
    return layers.Dense(1024, activation="relu", name="fc1")(x)
