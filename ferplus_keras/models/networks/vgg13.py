"""VGG13 of Barsoum et al. 2016 (arXiv:1608.01041), who published the FER+ labels.

After https://github.com/microsoft/FERPlus: ten 3x3 convolutions without BatchNormalization on
64x64 grey faces whose lighting is normalised, with much dropout.
"""

from ferplus_keras.models.registry import network


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
    """Return features (b, 1024) of images (b, s, s, 1)."""
    from keras import layers

    x = images
    for stage, (filters, repetitions) in enumerate(((64, 2), (128, 2), (256, 3), (256, 3)), 1):
        for i in range(1, repetitions + 1):
            name = f"conv{stage}_{i}"
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(x)
        x = layers.MaxPooling2D(2, name=f"pool{stage}")(x)
        x = layers.Dropout(0.25, name=f"drop{stage}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(1024, activation="relu", name="fc5")(x)
    x = layers.Dropout(0.5, name="drop5")(x)
    return layers.Dense(1024, activation="relu", name="fc6")(x)
