"""From a raw face to what a backbone was trained on, inside the graph.

Because these steps are part of the saved model, training, testing, export and serving cannot
disagree about them, and a face travels to the device as 2.3 kB of uint8.
"""

from collections.abc import Sequence

import keras
from keras import ops

from ferplus_keras.models.illumination import even_light


@keras.saving.register_keras_serializable(package="ferplus_keras")
class FacePreprocessing(keras.layers.Layer):
    """Take the centre of grey faces, resize it bilinearly and normalise it in every channel.

    The work is `keras.ops.image.resize` on float32 rather than `keras.layers.Resizing`, which in
    Keras 3.15 switches every later layer to training mode when the model is called directly.
    It stays float32 under mixed precision too: the grey levels' range is not float16's best.

    Args:
        image_size: side of the images handed to the backbone, in pixels.
        mean: value subtracted in each channel, in grey levels (0-255); its length is the number
            of channels.
        std: what each channel is divided by then, in grey levels; empty for no division.
        crop: side of the centre of each face that is used, in pixels; None is all of it.
        equalize: even out the light (`illumination.even_light`) once the face is resized.
        **kwargs: as for `keras.layers.Layer`.

    Call arguments:
        faces: (b, h, w) uint8, 0-255.

    Returns:
        (b, image_size, image_size, len(mean)) float32: 0-255 minus the mean, divided by std;
        with `equalize`, values of mean 0 and variance 1 instead of 0-255.
    """

    def __init__(
        self,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float] = (),
        crop: int | None = None,
        equalize: bool = False,
        **kwargs,
    ):
        kwargs.setdefault("dtype", "float32")
        super().__init__(trainable=kwargs.pop("trainable", False), **kwargs)
        self.image_size = image_size
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.crop = crop
        self.equalize = equalize

    def call(self, faces):
        """Return the images for (b, h, w) uint8 faces."""
        grey = ops.expand_dims(ops.cast(faces, "float32"), axis=-1)
        if self.crop is not None:
            top, left = ((side - self.crop) // 2 for side in grey.shape[1:3])
            grey = grey[:, top : top + self.crop, left : left + self.crop]
        size = (self.image_size, self.image_size)
        if tuple(grey.shape[1:3]) != size:
            grey = ops.image.resize(
                grey, size, interpolation="bilinear", data_format="channels_last"
            )
        if self.equalize:
            grey = even_light(grey)
        images = grey - ops.convert_to_tensor(self.mean, dtype="float32")
        return images / ops.convert_to_tensor(self.std, dtype="float32") if self.std else images

    def compute_output_shape(self, input_shape):
        """Return (b, image_size, image_size, channels)."""
        return (input_shape[0], self.image_size, self.image_size, len(self.mean))

    def get_config(self):
        """Return every argument of the constructor, JSON-ready."""
        return {
            **super().get_config(),
            "image_size": self.image_size,
            "mean": list(self.mean),
            "std": list(self.std),
            "crop": self.crop,
            "equalize": self.equalize,
        }
