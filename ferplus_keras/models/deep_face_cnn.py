"""DeepFaceCNN: the small expression network of serengil's tutorials and of deepface.

After https://github.com/serengil/deepface, with the layer sizes that many projects took over from
there. Overlapping pools and valid convolutions shrink a 48x48 face to one pixel of 128 features:
48 -> 44 -> 20 -> 18 -> 16 -> 7 -> 5 -> 3 -> 1.
"""

from keras import KerasTensor, layers

_CHANNELS = {"data_format": "channels_last"}


def deep_face_cnn(images: KerasTensor) -> KerasTensor:
    """Return features (b, 1024) of images (b, s, s, 1)."""
    x = _convolve(images, 64, 5, "conv1")
    x = layers.MaxPooling2D(5, strides=2, name="pool1", **_CHANNELS)(x)
    for stage, filters in ((2, 64), (3, 128)):
        x = _convolve(x, filters, 3, f"conv{stage}a")
        x = _convolve(x, filters, 3, f"conv{stage}b")
        x = layers.AveragePooling2D(3, strides=2, name=f"pool{stage}", **_CHANNELS)(x)
    x = layers.Flatten(name="flatten", **_CHANNELS)(x)
    x = layers.Dense(1024, activation="relu", name="fc1")(x)
    x = layers.Dropout(0.2, name="fc1_drop")(x)
    return layers.Dense(1024, activation="relu", name="fc2")(x)


def _convolve(x, filters: int, side: int, name: str):
    return layers.Conv2D(filters, side, activation="relu", name=name, **_CHANNELS)(x)
