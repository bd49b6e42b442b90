"""From a raw face to what a backbone was trained on, inside the graph.

Because these steps are part of the saved model, training, testing, export and serving cannot
disagree about them, and a face travels to the device as 2.3 kB of uint8.
"""

from collections.abc import Sequence

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="ferplus_keras")
class FacePreprocessing(keras.layers.Layer):
    """Resize grey faces bilinearly, repeat them in every channel and subtract the channel means.

    The work is `keras.ops.image.resize` on float32 rather than `keras.layers.Resizing`, which in
    Keras 3.15 switches every later layer to training mode when the model is called directly.
    It stays float32 under mixed precision too: the grey levels' range is not float16's best.

    Args:
        image_size: side of the images handed to the backbone, in pixels.
        mean: value subtracted in each channel, in grey levels (0-255); its length is the number
            of channels.
        **kwargs: as for `keras.layers.Layer`.

    Call arguments:
        faces: (b, h, w) uint8, 0-255.

    Returns:
        (b, image_size, image_size, len(mean)) float32, 0-255 minus the mean.
    """

    def __init__(self, image_size: int, mean: Sequence[float], **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(trainable=kwargs.pop("trainable", False), **kwargs)
        self.image_size = image_size
        self.mean = tuple(mean)

    def call(self, faces):
        """Return the images for (b, h, w) uint8 faces."""
        grey = ops.expand_dims(ops.cast(faces, "float32"), axis=-1)
        size = (self.image_size, self.image_size)
        if tuple(grey.shape[1:3]) != size:
            grey = ops.image.resize(
                grey, size, interpolation="bilinear", data_format="channels_last"
            )
        return grey - ops.convert_to_tensor(self.mean, dtype="float32")

    def compute_output_shape(self, input_shape):
        """Return (b, image_size, image_size, channels)."""
        return (input_shape[0], self.image_size, self.image_size, len(self.mean))

    def get_config(self):
        """Return every argument of the constructor, JSON-ready."""
        return {**super().get_config(), "image_size": self.image_size, "mean": list(self.mean)}
