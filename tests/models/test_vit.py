import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import h5py
import keras
import numpy as np
import pytest

from ferplus_keras.errors import InputError
from ferplus_keras.models import published
from ferplus_keras.models.networks import imagenet
from ferplus_keras.models.published import find_weights
from ferplus_keras.models.registry import MODELS, build_model
from ferplus_keras.models.weights import load_weights
from tests.models.networks import faces, weights_of

SPEC = MODELS["ViTBase16"]
FILE = Path(__file__).with_name("keras_hub_vit.weights.h5")
"""Saved by keras-hub 0.32: two blocks of width 12 for 48x48 images, random weights.

Its attribute `class_token` (2, 12) is what keras-hub's backbone makes of `faces()`.
"""


@pytest.fixture
def small(monkeypatch):
    """Shrink ViTBase16 to the network of the file."""
    monkeypatch.setattr(imagenet, "_WIDTH", 12)
    monkeypatch.setattr(imagenet, "_BLOCKS", 2)


def tokens(model):
    features = keras.Model(model.input, model.get_layer("flatten_1").output)
    return features.predict(faces(), verbose=0)


def test_file_of_keras_hub_gives_its_features(small):
    model = build_model("ViTBase16", 8, weights="none", image_size=48)
    loaded = load_weights(model, FILE, SPEC)
    assert (loaded.layers, loaded.left_out, loaded.head) == (13, (), False)
    with h5py.File(FILE) as file:
        np.testing.assert_allclose(tokens(model), file.attrs["class_token"], rtol=0, atol=1e-5)


def test_checkpoint_gives_every_weight_back(small, tmp_path):
    model = build_model("ViTBase16", 8, weights=FILE, image_size=48)
    model.save(tmp_path / "model.keras")
    other = build_model("ViTBase16", 8, weights="none", image_size=48)
    assert load_weights(other, tmp_path / "model.keras", SPEC).layers == 14
    np.testing.assert_equal(weights_of(other), weights_of(model))
    assert len(weights_of(model)["block1_attention"]) == 8


@pytest.mark.parametrize(
    ("blocks", "size", "said"),
    [
        (1, 48, "5 unknown here (block2_norm1, block2_norm2, …)"),
        (3, 48, "5 missing (block3_norm1, block3_attention, …)"),
        (2, 64, "1 of another shape (tokens"),
    ],
)
def test_file_of_another_network(small, monkeypatch, blocks, size, said):
    monkeypatch.setattr(imagenet, "_BLOCKS", blocks)
    with pytest.raises(InputError) as caught:
        build_model("ViTBase16", 8, weights=FILE, image_size=size)
    assert said in str(caught.value)


class TestPreset:
    """Fetched by keras-hub once, then kept."""

    @pytest.fixture
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.delenv("FERPLUS_WEIGHTS_DIR", raising=False)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        return tmp_path / "models" / "keras_hub"

    @pytest.fixture
    def hub(self, monkeypatch):
        """A stand-in for keras-hub; set `from_preset`."""
        module = ModuleType("keras_hub")
        module.__spec__ = ModuleSpec("keras_hub", None)
        module.models = SimpleNamespace(ViTBackbone=SimpleNamespace())
        monkeypatch.setitem(sys.modules, "keras_hub", module)
        return module.models.ViTBackbone

    def test_is_kept(self, cache, hub):
        asked = []

        def from_preset(name):
            asked.append(name)
            return SimpleNamespace(save_weights=lambda path: path.write_bytes(FILE.read_bytes()))

        hub.from_preset = from_preset
        path = find_weights(SPEC, "imagenet")
        assert path == cache / "vit_base_patch16_224_imagenet.weights.h5"
        assert path.read_bytes() == FILE.read_bytes()
        assert find_weights(SPEC, "imagenet") == path
        assert asked == ["vit_base_patch16_224_imagenet"]
        assert list(cache.iterdir()) == [path]

    def test_cannot_be_fetched(self, cache, hub):
        def from_preset(name):
            raise ConnectionError("no\nroute")

        hub.from_preset = from_preset
        with pytest.raises(InputError, match=r"\(no route\); put .* --weights none") as caught:
            find_weights(SPEC, "imagenet")
        assert str(cache) in str(caught.value)

    def test_without_keras_hub(self, cache, monkeypatch):
        monkeypatch.setattr(published, "find_spec", lambda name: None)
        with pytest.raises(InputError, match=r"pip install 'ferplus-keras\[keras-hub\]'"):
            find_weights(SPEC, "imagenet")
