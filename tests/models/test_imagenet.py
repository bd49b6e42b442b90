"""ImageNetResNet50 against keras.applications and the files that are published for it."""

import keras
import numpy as np
import pytest

from ferplus_keras.errors import InputError
from ferplus_keras.models.registry import MODELS, build_model
from ferplus_keras.models.weights import load_weights
from tests.models.networks import faces, weights_of

SPEC = MODELS["ImageNetResNet50"]
SIZE = 48


@pytest.fixture
def model():
    return build_model(SPEC.name, 8, weights="none", image_size=SIZE)


def images():
    """What keras.applications makes of the faces, by its own `preprocess_input`."""
    rgb = np.repeat(faces()[..., None].astype("float32"), 3, axis=-1)
    return keras.applications.resnet.preprocess_input(rgb)


def features(model):
    pooled = keras.Model(model.input, model.get_layer("flatten_1").output)
    return keras.ops.convert_to_numpy(pooled(faces()))


def assert_same(found, expected):
    assert np.isfinite(expected).all()
    assert np.ptp(expected, axis=0).max() > 0.01 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def randomise(network):
    """Give biases and normalisation values of their own; kernels have them already."""
    rng = np.random.default_rng(2)
    network.set_weights(
        [
            w + rng.uniform(0, 0.1, w.shape).astype("float32") if w.ndim == 1 else w
            for w in network.get_weights()
        ]
    )


def test_file_written_by_keras_applications(model, tmp_path):
    theirs = keras.applications.ResNet50(weights=None, classes=11, input_shape=(SIZE, SIZE, 3))
    randomise(theirs)
    theirs.save(tmp_path / "resnet50.h5")  # the layout that Keras 2 wrote
    loaded = load_weights(model, tmp_path / "resnet50.h5", SPEC)
    assert (loaded.layers, loaded.left_out, loaded.head) == (106, ("predictions",), False)
    pooled = keras.Model(theirs.input, theirs.get_layer("avg_pool").output)
    assert_same(features(model), keras.ops.convert_to_numpy(pooled(images())))


def test_file_of_keras_2_without_top(model, tmp_path):
    tf_keras = pytest.importorskip("tf_keras")
    theirs = tf_keras.applications.ResNet50(
        weights=None, include_top=False, pooling="avg", input_shape=(SIZE, SIZE, 3)
    )
    randomise(theirs)
    theirs.save_weights(tmp_path / "notop.h5")
    loaded = load_weights(model, tmp_path / "notop.h5", SPEC)
    assert (loaded.layers, loaded.left_out, loaded.head) == (106, (), False)
    assert_same(features(model), theirs(images()).numpy())


def test_vggface2_file_is_refused(model, tmp_path):
    build_model("ResNet50", 8, weights="none", image_size=SIZE).save(tmp_path / "faces.keras")
    before = weights_of(model)["conv1_conv"]["kernel"]
    with pytest.raises(InputError, match="not those of --model_name ImageNetResNet50"):
        load_weights(model, tmp_path / "faces.keras", SPEC)
    np.testing.assert_array_equal(weights_of(model)["conv1_conv"]["kernel"], before)
