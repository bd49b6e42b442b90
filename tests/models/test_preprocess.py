import cv2
import keras
import numpy as np
import pytest

from ferplus_keras.models.preprocess import FacePreprocessing
from tests.models.networks import faces, smooth_faces

MEAN = (91.4953, 103.8827, 131.0912)


def preprocess(images, size, mean=MEAN):
    return keras.ops.convert_to_numpy(FacePreprocessing(size, mean)(images))


@pytest.mark.parametrize("size", [48, 64, 97, 224])
def test_equals_cv2_on_float(size):
    images = preprocess(smooth_faces(3), size)
    assert images.shape == (3, size, size, 3)
    assert images.dtype == np.float32
    for face, image in zip(smooth_faces(3), images, strict=True):
        grey = cv2.resize(face.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(image, grey[..., None] - np.array(MEAN), rtol=0, atol=1.3e-4)


def test_at_its_own_size_a_face_is_not_touched():
    images = preprocess(faces(), 48, mean=(0, 0, 0))
    np.testing.assert_array_equal(images, np.repeat(faces()[..., None], 3, axis=-1))


def test_one_mean_makes_one_channel():
    assert preprocess(faces(), 60, mean=(127.5,)).shape == (2, 60, 60, 1)


def test_config_gives_the_same_layer_back():
    layer = FacePreprocessing(64, MEAN, name="preprocessing")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert isinstance(again, FacePreprocessing)
    assert (again.image_size, again.mean, again.name) == (64, MEAN, "preprocessing")
    assert again.get_config() == layer.get_config()


def test_leaves_later_layers_in_inference_mode():
    inputs = keras.Input((48, 48), dtype="uint8")
    normalised = keras.layers.BatchNormalization()(FacePreprocessing(60, MEAN)(inputs))
    model = keras.Model(inputs, normalised)
    before = model.get_weights()
    model(faces())
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
