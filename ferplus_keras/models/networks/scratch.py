"""ScratchCNN and ScratchMLP: the two baselines of Aryan Garg's comparison on FER2013.

After https://github.com/Aryan-Garg/Fast-Facial-Expression-Recognition, where they stand beside
fine-tuned networks of ImageNet. Nearly all of their parameters lie in the first fully connected
layer, which sees 224x224 pixels enlarged from 48x48.
"""

from ferplus_keras.models.registry import network

_IMAGENET = {
    "channel_order": "rgb",
    "mean": (123.675, 116.28, 103.53),
    "std": (58.395, 57.12, 57.375),
}


@network(
    "ScratchCNN",
    description="three convolutions and wide dense layers, a baseline by Aryan Garg",
    dropout_rate=0.0,
    **_IMAGENET,
)
def scratch_cnn(images):
    """Return features (b, 512) of images (b, s, s, c)."""
    from keras import layers

    x = images
    for i, filters in enumerate((16, 32, 64), start=1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{i}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{i}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(1024, activation="relu", name="fc1")(x)
    return layers.Dense(512, activation="relu", name="fc2")(x)


@network(
    "ScratchMLP",
    description="one hidden layer on all pixels, a baseline by Aryan Garg",
    dropout_rate=0.0,
    **_IMAGENET,
)
def scratch_mlp(images):
    """Return features (b, 1024) of images (b, s, s, c)."""
    from keras import layers

    x = layers.Flatten(name="flatten")(images)
    return layers.Dense(1024, activation="relu", name="fc1")(x)
