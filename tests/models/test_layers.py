import cv2
import keras
import numpy as np
import pytest

from ferplus_keras.models.layers import FacePreprocessing
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


def test_crop_and_division():
    layer = FacePreprocessing(40, (10.0,), std=(4.0,), crop=40)
    expected = (faces()[:, 4:44, 4:44, None] - np.float32(10)) / 4
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(faces())), expected, rtol=1e-6)


def colour_faces() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (2, 40, 60, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [40, 64])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_colours_go_to_the_channels_of_their_means(order, size):
    layer = FacePreprocessing(size, MEAN, crop=40, channel_order=order)
    centre = colour_faces()[:, :, 10:50].astype(np.float32)
    for face, image in zip(centre, keras.ops.convert_to_numpy(layer(colour_faces())), strict=True):
        expected = cv2.resize(face, (size, size), interpolation=cv2.INTER_LINEAR)
        expected = expected[..., ::-1] if order == "bgr" else expected
        np.testing.assert_allclose(image, expected - np.array(MEAN), rtol=0, atol=1.3e-4)


def test_colours_become_grey_for_one_channel():
    images = FacePreprocessing(40, (100.0,), (50.0,), 40, channel_order="grey")(colour_faces())
    grey = colour_faces()[:, :, 10:50] @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(images)[..., 0], (grey - 100) / 50, rtol=0, atol=1e-5
    )


def lighting_by_hand(face, size):
    """Barsoum et al.'s preprocessing of one face, by counting and least squares in float64."""
    grey = cv2.resize(face.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
    levels = np.floor(grey + 0.501).astype(int).ravel()
    not_brighter = np.bincount(levels, minlength=256).cumsum()
    values = 2 * not_brighter[levels] / levels.size - 1
    rows, columns = np.mgrid[:size, :size].reshape(2, -1)
    plane = np.stack([np.ones(size * size), rows, columns], axis=1)
    values -= plane @ np.linalg.lstsq(plane, values, rcond=None)[0]
    return (values / values.std()).reshape(size, size)


@pytest.mark.parametrize("size", [48, 64])
def test_lighting_is_normalised(size):
    lit = np.clip(smooth_faces(3) * np.linspace(0.2, 1.8, 48), 0, 255).astype(np.uint8)
    images = FacePreprocessing(size, (0.0,), equalize=True)(lit)
    images = keras.ops.convert_to_numpy(images)
    assert images.shape == (3, size, size, 1)
    expected = [lighting_by_hand(face, size) for face in lit]
    np.testing.assert_allclose(images[..., 0], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_face_of_one_level_stays_flat(level):
    blank = np.full((1, 48, 48), level, np.uint8)
    images = FacePreprocessing(64, (0.0,), equalize=True)(blank)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(images), 0, atol=1e-5)


def test_config_of_an_older_checkpoint_loads():
    config = FacePreprocessing(64, MEAN).get_config()
    for later in ("std", "crop", "equalize", "channel_order"):
        del config[later]
    config["data_format"] = "channels_last"  # files of one older version have it
    layer = FacePreprocessing.from_config(config)
    assert (layer.std, layer.crop, layer.equalize, layer.channel_order) == ((), None, False, None)
    with pytest.raises(ValueError, match="colour faces need a channel_order"):
        layer(colour_faces())


def test_config_gives_the_same_layer_back():
    layer = FacePreprocessing(64, MEAN, MEAN, 40, True, "rgb", name="preprocessing")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert isinstance(again, FacePreprocessing)
    assert (again.image_size, again.mean, again.name) == (64, MEAN, "preprocessing")
    assert (again.std, again.crop, again.equalize) == (MEAN, 40, True)
    assert again.channel_order == "rgb"
    assert again.get_config() == layer.get_config()


def test_leaves_later_layers_in_inference_mode():
    inputs = keras.Input((48, 48), dtype="uint8")
    normalised = keras.layers.BatchNormalization()(FacePreprocessing(60, MEAN)(inputs))
    model = keras.Model(inputs, normalised)
    before = model.get_weights()
    model(faces())
    np.testing.assert_equal(model.get_weights(), before)
