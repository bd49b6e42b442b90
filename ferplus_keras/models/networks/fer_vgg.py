"""FerVGG: the VGG variant of Khaireddin & Chen 2021 (arXiv:2105.03588), 73.28 % on FER2013.

After https://github.com/usef-kh/fer: four stages of two 3x3 convolutions with BatchNormalization
on 40x40 crops, which end at 2x2x512, and two wide fully connected layers.
"""

from ferplus_keras.models.registry import network


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
    """Return features (b, 4096) of images (b, s, s, 1)."""
    from keras import layers

    x = images
    for stage, filters in enumerate((64, 128, 256, 512), start=1):
        for part in "ab":
            x = layers.Conv2D(filters, 3, padding="same", name=f"conv{stage}{part}")(x)
            # PyTorch's defaults.
            x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"bn{stage}{part}")(x)
            x = layers.ReLU(name=f"relu{stage}{part}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{stage}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(4096, activation="relu", name="fc1")(x)
    x = layers.Dropout(0.2, name="fc1_drop")(x)
    return layers.Dense(4096, activation="relu", name="fc2")(x)
