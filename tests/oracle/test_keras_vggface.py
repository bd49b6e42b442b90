"""Our networks, loaded from genuine keras-vggface files, give keras-vggface's probabilities.

With FERPLUS_ORACLE_FULL=1 at the published sizes (VGG16 at 224, 8,631 and 2,622 identities);
otherwise with few identities and VGG16 at 64.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from ferplus_keras.formats.keras import Hdf5
from ferplus_keras.models.freeze import describe_layers
from ferplus_keras.models.registry import MODELS, build_model
from ferplus_keras.models.weights import load_weights

MISSING = [
    name for name in ("tf_keras", "keras_vggface", "keras_applications") if not find_spec(name)
]
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed (extra 'oracle'): {MISSING}"),
]

NETWORKS = {"ResNet50": "resnet50", "SeNet50": "senet50", "VGG16": "vgg16"}
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def oracle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("oracle")
    environment = os.environ | {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("KERAS_BACKEND", None)
    script = Path(__file__).with_name("keras_vggface_networks.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    yield folder
    for path in folder.iterdir():  # 0.9 GB
        path.unlink()


@pytest.fixture(scope="module", params=NETWORKS)
def case(request, oracle):
    """A network of ours as the older project's file makes it, and what was recorded of theirs."""
    name = request.param
    network = NETWORKS[name]
    opened = Hdf5.open(oracle / f"{network}.hdf5")
    assert opened.info.model_name == name
    return opened.network, MODELS[name], oracle / network, np.load(oracle / f"{network}.npz")


def test_whole_model_gives_the_older_projects_probabilities(case):
    model, _, _, recorded = case
    assert model.get_layer("preprocessing").image_size == recorded["image_size"]
    assert model.get_layer("dropout_layer").rate == pytest.approx(0.4)
    probabilities = model.predict(recorded["faces"], verbose=0)
    assert np.ptp(recorded["full"]) > 0.1  # not a comparison of flat outputs
    np.testing.assert_allclose(probabilities, recorded["full"], rtol=0, atol=TOLERANCE)


def test_weights_with_top_give_keras_vggfaces_probabilities(case):
    _, spec, stem, recorded = case
    model = build_model(spec.name, 8, weights="none", image_size=int(recorded["image_size"]))
    loaded = load_weights(model, stem.with_suffix(".h5"), spec)
    assert loaded.layers == spec.weighted_layers
    assert loaded.left_out == spec.top_layers
    assert not loaded.head

    features = keras.Model(model.input, model.get_layer("flatten_1").output)
    x = features.predict(recorded["faces"], verbose=0)
    with h5py.File(stem.with_suffix(".h5")) as file:
        for i, layer in enumerate(spec.top_layers):
            x = np.maximum(x, 0) if i else x
            x = x @ file[f"{layer}/{layer}/kernel:0"][()] + file[f"{layer}/{layer}/bias:0"][()]
    exponents = np.exp(x - x.max(axis=1, keepdims=True))
    probabilities = exponents / exponents.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, recorded["top"], rtol=0, atol=TOLERANCE)


def test_weights_without_top_are_the_same_backbone(case):
    model, spec, stem, recorded = case
    expected = model.predict(recorded["faces"], verbose=0)
    head = model.get_layer("dense").get_weights()
    without = build_model(spec.name, 8, weights="none", image_size=int(recorded["image_size"]))
    loaded = load_weights(without, stem.with_name(f"{stem.name}_notop.h5"), spec)
    assert (loaded.layers, loaded.left_out, loaded.head) == (spec.weighted_layers, (), False)
    without.get_layer("dense").set_weights(head)
    np.testing.assert_array_equal(without.predict(recorded["faces"], verbose=0), expected)


def test_layers_are_at_keras_2s_positions(case):
    model, _, _, recorded = case
    ours = [layer["original_name"] for layer in describe_layers(model)]
    assert ours == [_keras_2_2_name(name) for name in recorded["layers"]]


def test_multi_gpu_wrapper_is_taken_apart(oracle):
    recorded = np.load(oracle / "resnet50.npz")
    opened = Hdf5.open(oracle / "resnet50_gpus.hdf5")
    assert opened.info.model_name == "ResNet50"
    probabilities = opened.network.predict(recorded["faces"], verbose=0)
    np.testing.assert_allclose(probabilities, recorded["full"], rtol=0, atol=TOLERANCE)


def test_head_of_other_classes_is_left_out(oracle):
    model = build_model("ResNet50", 7, weights="none", image_size=48)
    before = model.get_layer("dense").get_weights()
    loaded = load_weights(model, oracle / "resnet50.hdf5", MODELS["ResNet50"])
    assert (loaded.layers, loaded.left_out, loaded.head) == (106, ("dense",), False)
    for old, new in zip(before, model.get_layer("dense").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def _keras_2_2_name(name: str) -> str:
    """tf_keras starts automatic names at `add`, `add_1`; Keras 2.2.4 at `add_1`, `add_2`."""
    kinds = ("activation", "add", "flatten", "global_average_pooling2d", "max_pooling2d")
    for kind in (*kinds, "multiply", "reshape"):
        stem, _, number = name.rpartition("_")
        if name == kind:
            return f"{kind}_1"
        if stem == kind and number.isdigit():
            return f"{kind}_{int(number) + 1}"
    return name
