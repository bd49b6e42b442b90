import subprocess
import sys

import keras
import numpy as np
import pytest

from ferplus_keras.errors import UsageError
from ferplus_keras.models.freeze import describe_layers, numbered_layers
from ferplus_keras.models.head import HEAD
from ferplus_keras.models.registry import MODELS, build_model, build_with_weights, list_models
from tests.models.networks import FIGURES, faces


@pytest.fixture(scope="module", params=list(FIGURES))
def model(request):
    keras.utils.set_random_seed(1)
    return build_model(request.param, 8, weights="none", image_size=48)


def test_every_network_has_a_case():
    assert list_models() == list(FIGURES)


def test_shapes_and_size(model):
    layers, parameters, *_ = FIGURES[model.name]
    assert (model.input_shape, model.output_shape) == ((None, 48, 48), (None, 8))
    assert model.inputs[0].dtype == "uint8"
    assert len(numbered_layers(model)) == layers
    assert model.count_params() == parameters
    weighted = [layer for layer in model.layers if layer.weights and layer.name != HEAD]
    assert len(weighted) == MODELS[model.name].weighted_layers


def test_probabilities(model):
    probabilities = model.predict(faces(3), verbose=0)
    assert probabilities.dtype == np.float32
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert np.ptp(probabilities, axis=0).max() > 0, "the faces differ, the outputs do not"


def test_calling_equals_predicting_and_changes_nothing(model):
    before = [np.array(weight) for weight in model.get_weights()]
    called = keras.ops.convert_to_numpy(model(faces(3)))
    np.testing.assert_allclose(called, model.predict(faces(3), verbose=0), atol=1e-6)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_at_224_the_positions_are_the_same(model):
    large = build_model(model.name, 8, weights="none")
    features = {"VGG16": 7 * 7 * 512}.get(model.name, 2048)
    assert large.get_layer("flatten_1").output.shape == (None, features)
    assert [layer["name"] for layer in describe_layers(large)] == [
        layer["name"] for layer in describe_layers(model)
    ]


def test_settings_reach_the_network(tiny_network):
    model = build_model(
        tiny_network, 5, weights="none", image_size=60, dropout_rate=0, activation="sigmoid"
    )
    assert model.output_shape == (None, 5)
    assert model.get_layer("preprocessing").image_size == 60
    assert model.get_layer("dropout_layer").rate == 0
    assert model.get_layer(HEAD).activation is keras.activations.sigmoid


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
        ({"weights": "vggface"}, "did you mean 'vggface2'"),
    ],
)
def test_refuses_before_building(monkeypatch, settings, said):
    monkeypatch.setattr("ferplus_keras.models.registry._graph", lambda *_: pytest.fail("built"))
    settings = {"name": "ResNet50", "num_classes": 8, "weights": "none"} | settings
    with pytest.raises(UsageError) as caught:
        build_with_weights(**settings)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_are_known_without_keras():
    program = (
        "import sys; from ferplus_keras.models.registry import list_models; "
        "print(list_models()[0], 'keras' in sys.modules, 'h5py' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
    assert said.split() == ["ResNet50", "False", "False"]
