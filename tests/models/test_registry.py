import gc
import subprocess
import sys

import keras
import numpy as np
import pytest

from ferplus_keras.errors import UsageError
from ferplus_keras.models.freeze import describe_layers, numbered_layers
from ferplus_keras.models.layers import HEAD
from ferplus_keras.models.registry import MODELS, build_model, list_models
from tests.conftest import REPOSITORY
from tests.models.networks import FIGURES, faces, smooth_faces
from tools.generate import layer_list

SMALL = {"DlibResNet": 55, "FerVGG": 16}
"""Image sizes that keep the checks of training quick; 48 for the others."""


@pytest.fixture(scope="module", params=list(MODELS))
def model(request):
    """Each network as it comes."""
    gc.collect()  # a network is a cycle; the one before may take 0.6 GB
    keras.utils.set_random_seed(1)
    return build_model(request.param, 8, weights="none")


@pytest.fixture(scope="module", params=list(MODELS))
def small(request):
    """Each network for small images."""
    gc.collect()
    keras.utils.set_random_seed(1)
    size = SMALL.get(request.param, 48)
    return build_model(request.param, 8, weights="none", image_size=size)


def test_every_network_has_a_case():
    assert list_models() == list(FIGURES)


def test_shapes_and_size(model):
    layers, parameters, features = FIGURES[model.name]
    spec = MODELS[model.name]
    assert (model.input_shape, model.output_shape) == ((None, 48, 48), (None, 8))
    assert model.inputs[0].dtype == "uint8"
    images = model.get_layer("preprocessing").output
    assert images.shape == (None, spec.image_size, spec.image_size, len(spec.mean))
    assert model.get_layer("flatten_1").output.shape == (None, features)
    assert model.get_layer("dropout_layer").rate == spec.dropout_rate
    assert len(numbered_layers(model)) == layers
    assert model.count_params() == parameters
    weighted = [layer for layer in model.layers if layer.weights and layer.name != HEAD]
    assert spec.weighted_layers in (0, len(weighted))
    assert (len(spec.mean) == 1) == (spec.channel_order == "grey")


def test_probabilities(model):
    both = keras.Model(model.input, [model.get_layer("flatten_1").output, model.output])
    features, probabilities = map(keras.ops.convert_to_numpy, both(faces(3)))
    assert probabilities.dtype == np.float32
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert np.ptp(features, axis=0).max() > 0, "the faces differ, the features do not"


def test_kept_layer_list_is_what_the_command_writes(model):
    kept = (REPOSITORY / "layer_lists" / f"{model.name}.txt").read_text(encoding="utf-8")
    assert layer_list(model) == kept


def test_positions_do_not_depend_on_the_image_size(small):
    kept = (REPOSITORY / "layer_lists" / f"{small.name}.txt").read_text(encoding="utf-8")
    names = [line.split()[1] for line in kept.splitlines()[1:]]
    assert [layer["name"] for layer in describe_layers(small)] == names


def test_calling_equals_predicting_and_changes_nothing(small):
    before = small.get_weights()
    called = keras.ops.convert_to_numpy(small(faces(3)))
    np.testing.assert_allclose(called, small.predict(faces(3), verbose=0), atol=1e-6)
    np.testing.assert_equal(small.get_weights(), before)


def test_file_gives_the_same_network_back(small, tmp_path):
    small.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    (tmp_path / "model.keras").unlink()
    preprocessing, restored = (m.get_layer("preprocessing").get_config() for m in (small, again))
    assert restored == preprocessing
    np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(m(faces())) for m in (small, again)))


def test_every_trainable_weight_gets_a_gradient(small):
    before = [keras.ops.convert_to_numpy(w).copy() for w in small.trainable_weights]
    # So large a step that any gradient shows, a bias's under BatchNormalization among them.
    small.compile(keras.optimizers.SGD(1e6), "categorical_crossentropy", run_eagerly=True)
    small.train_on_batch(smooth_faces(4), np.eye(8, dtype="float32")[:4])
    still = [
        weight.path
        for weight, old in zip(small.trainable_weights, before, strict=True)
        if np.array_equal(keras.ops.convert_to_numpy(weight), old)
    ]
    assert still == []


def test_settings_reach_the_network(tiny_network):
    settings = {"image_size": 60, "dropout_rate": 0, "activation": "sigmoid"}
    model = build_model(tiny_network, np.int64(5), weights="none", **settings)
    assert model.output_shape == (None, 5)
    assert model.get_layer("preprocessing").image_size == 60
    assert model.get_layer("dropout_layer").rate == 0
    assert model.get_layer(HEAD).activation is keras.activations.sigmoid


@pytest.mark.parametrize(
    "name", ["CompactFER", "DlibResNet", "FerVGG", "ResNet18", "VGG13", "ViTBase16"]
)
def test_a_colourless_picture_gives_what_the_grey_face_gives(name):
    keras.utils.set_random_seed(1)
    size = SMALL.get(name, 48)
    grey = build_model(name, 8, weights="none", image_size=size)
    colour = build_model(name, 8, weights="none", image_size=size, colour=True)
    assert colour.input_shape == (None, 48, 48, 3)
    colour.set_weights(grey.get_weights())
    rgb = np.repeat(smooth_faces(3)[..., None], 3, axis=-1)
    expected = grey.predict(smooth_faces(3), verbose=0)
    np.testing.assert_allclose(colour.predict(rgb, verbose=0), expected, atol=1e-4)


def test_faces_of_another_size():
    model = build_model("FerVGG", 8, weights="none", face_size=96, colour=True)
    assert model.input_shape == (None, 96, 96, 3)
    preprocessing = model.get_layer("preprocessing")
    assert (preprocessing.crop, preprocessing.output.shape) == (80, (None, 40, 40, 1))


def test_channels_come_last_whatever_keras_json_says(tiny_network):
    keras.config.set_image_data_format("channels_first")
    try:
        model = build_model(tiny_network, 8, weights="none")
        assert keras.config.image_data_format() == "channels_first"
    finally:
        keras.config.set_image_data_format("channels_last")
    assert model.get_layer("conv0").data_format == "channels_last"


def test_mixed_precision_keeps_faces_and_probabilities_in_float32(tiny_network):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_model(tiny_network, 8, weights="none", image_size=60)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("preprocessing").output.dtype == "float32"
    assert model.get_layer("conv0").output.dtype == "bfloat16"
    probabilities = keras.ops.convert_to_numpy(model(faces()))
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "ResNet5"}, "did you mean 'ResNet50'"),
        ({"num_classes": 1}, "2 classes or more, not 1"),
        ({"image_size": 47}, "48 or more, not 47"),
        ({"dropout_rate": 1.0}, "below 1, not 1.0"),
        ({"dropout_rate": -0.1}, "not -0.1"),
        ({"activation": "softmx"}, "did you mean 'softmax'"),
        ({"face_size": 0}, "1 or more, not 0"),
        ({"weights": "vggface"}, "did you mean 'vggface2'"),
    ],
)
def test_refuses_before_building(monkeypatch, settings, said):
    monkeypatch.setattr("ferplus_keras.models.registry._graph", lambda *_: pytest.fail("built"))
    settings = {"name": "ResNet50", "num_classes": 8, "weights": "none"} | settings
    with pytest.raises(UsageError) as caught:
        build_model(**settings)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_are_known_without_keras():
    program = (
        "import sys; from ferplus_keras.models.registry import list_models; "
        "print(list_models()[0], 'keras' in sys.modules, 'h5py' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
    assert said.split() == ["CompactFER", "False", "False"]
