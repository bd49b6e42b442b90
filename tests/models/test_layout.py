"""A network in the other layout is the same network."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from ferplus_keras.models.checkpoint import load_checkpoint
from ferplus_keras.models.freeze import describe_layers
from ferplus_keras.models.layout import converted
from ferplus_keras.models.registry import MODELS, build_model
from tests.conftest import REPOSITORY

FIXED = ("ViTBase16",)
"""Networks that know one layout only."""


@pytest.mark.slow
def test_every_network_keeps_positions_and_weights_and_comes_back():
    changed = []
    for name in MODELS:
        size = max(64, MODELS[name].min_image_size)
        model = build_model(name, 8, weights="none", image_size=size)
        copy = converted(model, "channels_first")
        if copy is model:
            continue
        changed.append(name)
        for one, other in zip(describe_layers(model), describe_layers(copy), strict=True):
            batch, *map_, channels = one["shape"]
            if len(map_) == 2:
                one["shape"] = [batch, channels, *map_]
            assert one == other
        for one, other in zip(model.get_weights(), copy.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
        assert converted(model, "channels_last") is model
        back = converted(copy, "channels_last")
        for one, other in zip(model.layers, back.layers, strict=True):
            before, after = one.get_config(), other.get_config()
            if "axis" in before:  # 3 and -1 are the same axis
                before["axis"] = after["axis"] = before["axis"] % 4 == after["axis"] % 4 == 3
            assert before == after
    assert set(MODELS) - set(changed) == set(FIXED)


def test_a_network_of_others_keeps_its_layout():
    faces = keras.Input((1, 48, 48), dtype="uint8")
    x = keras.layers.Conv2D(4, 3, data_format="channels_first")(faces)
    model = keras.Model(faces, keras.layers.GlobalAveragePooling2D(data_format="channels_first")(x))
    assert converted(model, "channels_last", "float32") is model


ON_JAX = """
import sys
from pathlib import Path
import numpy as np
from ferplus_keras.models import layout
layout.own_layout = lambda: "channels_first"  # as on Torch; TensorFlow has no such kernels
from ferplus_keras.classifier import Classifier
from ferplus_keras.models.checkpoint import CheckpointInfo, save_checkpoint
from ferplus_keras.models.registry import MODELS, build_model
from tests import tiny
MODELS["Tiny"] = tiny.SPEC

rng = np.random.default_rng(0)
faces = rng.integers(0, 256, (6, 48, 48), dtype=np.uint8)
model = build_model("Tiny", 8, weights="none", image_size=48, dropout_rate=0)
model.set_weights([w + rng.uniform(0, 0.2, w.shape) for w in model.get_weights()])
head = model.get_layer("dense")
head.set_weights([0.01 * values for values in head.get_weights()])
expected = model.predict_on_batch(faces)
assert 0.01 < expected.max(axis=1).mean() < 0.99
copy = layout.converted(model)
assert copy.get_layer("conv0").output.shape[1] == 8
np.testing.assert_allclose(copy.predict_on_batch(faces), expected, atol=1e-5)

targets = np.eye(8, dtype=np.float32)[:6]
for one in (model, copy):
    one.compile("sgd", "categorical_crossentropy")
    one.fit(faces, targets, batch_size=3, epochs=2, shuffle=False, verbose=0)
for one, other in zip(model.get_weights(), copy.get_weights()):
    np.testing.assert_allclose(one, other, atol=1e-4)

info = CheckpointInfo("Tiny", 48, tuple("abcdefgh"), "FERPlus", "majority", "majority")
save_checkpoint(copy, Path(sys.argv[1]), info)
trained = copy.predict_on_batch(faces)
assert abs(trained - expected).max() > 1e-3
classifier = Classifier.open(sys.argv[1])
np.testing.assert_allclose(classifier.probabilities(faces), trained, atol=1e-5)
np.save(sys.argv[2], trained)
"""


@pytest.mark.slow
def test_outputs_and_training_are_equal_and_checkpoints_open_everywhere(tmp_path):
    pytest.importorskip("jax")
    files = tmp_path / "model.keras", tmp_path / "trained.npy"
    done = subprocess.run(
        [sys.executable, "-c", ON_JAX, *map(str, files)],
        cwd=REPOSITORY,
        env=os.environ | {"KERAS_BACKEND": "jax", "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    model, _ = load_checkpoint(files[0])
    assert model.get_layer("conv0").output.shape[-1] == 8
    faces = np.random.default_rng(0).integers(0, 256, (6, 48, 48), dtype=np.uint8)
    np.testing.assert_allclose(model.predict_on_batch(faces), np.load(files[1]), atol=1e-5)
