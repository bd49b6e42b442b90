"""DeepFaceCNN: the small expression network of serengil's tutorials and of deepface.

After https://github.com/serengil/deepface, with the layer sizes that many projects took over from
there. Overlapping pools and valid convolutions shrink a 48x48 face to one pixel of 128 features:
48 -> 44 -> 20 -> 18 -> 16 -> 7 -> 5 -> 3 -> 1.
"""

from ferplus_keras.models.registry import network


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
    """Return features (b, 1024) of images (b, s, s, 1)."""
    from keras import layers

    x = layers.Conv2D(64, 5, activation="relu", name="conv1")(images)
    x = layers.MaxPooling2D(5, strides=2, name="pool1")(x)
    for stage, filters in ((2, 64), (3, 128)):
        for part in "ab":
            x = layers.Conv2D(filters, 3, activation="relu", name=f"conv{stage}{part}")(x)
        x = layers.AveragePooling2D(3, strides=2, name=f"pool{stage}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(1024, activation="relu", name="fc1")(x)
    x = layers.Dropout(0.2, name="fc1_drop")(x)
    return layers.Dense(1024, activation="relu", name="fc2")(x)
