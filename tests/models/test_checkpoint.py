import json
import subprocess
import sys
import tracemalloc
import zipfile

import keras
import numpy as np
import pytest

from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.errors import InputError
from ferplus_keras.models.checkpoint import (
    MEMBER,
    CheckpointInfo,
    load_checkpoint,
    read_info,
    save_checkpoint,
)
from ferplus_keras.models.registry import build_model
from tests.models.networks import faces

INFO = CheckpointInfo("Tiny", 60, FERPLUS_CLASSES, "FERPlus", "majority", "majority", epoch=3)


def build(name="Tiny", policy="float32"):
    keras.utils.set_random_seed(2)
    keras.config.set_dtype_policy(policy)
    try:
        return build_model(name, 8, weights="none", image_size=60)
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.fixture
def path(tiny_network, tmp_path):
    """A run folder's most accurate model."""
    path = tmp_path / "model_max_acc.keras"
    save_checkpoint(build(), path, INFO)
    return path


def rewrite(path, change):
    """Change the text of the archive's members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, change(name, content))


def with_info(path, text):
    rewrite(path, lambda name, content: text if name == MEMBER else content)


def info_without(*keys, **more):
    found = {"class_names": list(FERPLUS_CLASSES), "model_name": "Tiny", "image_size": 60}
    found |= dict.fromkeys(("dataset_name", "label_rule", "evaluation_rule"), "x") | more
    return json.dumps({key: value for key, value in found.items() if key not in keys})


def test_file_and_run_folder_give_the_network_and_its_classes(path):
    for given in (path, str(path), path.parent):
        model, info = load_checkpoint(given)
        assert info == read_info(given) == INFO
        expected = build().predict(faces(), verbose=0)
        np.testing.assert_array_equal(model.predict(faces(), verbose=0), expected)


def test_a_file_that_cannot_be_finished_leaves_the_old_one(path, monkeypatch):
    def fail(info, file):
        assert file.stat().st_size
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr("ferplus_keras.models.checkpoint.append_info", fail)
    with pytest.raises((InputError, OSError), match="No space left"):
        save_checkpoint(build(), path, INFO)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_information_from_before_colour(path):
    with_info(path, info_without())
    info = read_info(path)
    assert (info.face_size, info.colour, info.epoch, info.class_map) == (48, False, 0, None)
    assert info.class_names == FERPLUS_CLASSES


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (info_without(depth=3), r"newer version of ferplus_keras \(key 'depth'"),
        (info_without("image_size"), "expected 'image_size' to be int, got None"),
        (info_without(image_size="60"), "expected 'image_size' to be int, got '60'"),
        (info_without(colour=1), "expected 'colour' to be bool, got 1"),
        (info_without(class_names="happiness"), r"'class_names' to be tuple\[str, ...\]"),
        (info_without(class_map=[1]), r"'class_map' to be tuple\[str, ...\] | None"),
        (info_without(face_size=10**9), "expected 'face_size' from 1 to 2048"),
        (info_without(image_size=0), "expected 'image_size' from 1 to 2048"),
        (info_without(class_names=["=cmd()", "b"]), "may not begin with ="),
        (info_without(class_names=["a\nb", "b"]), "that can be printed"),
        ("[" * 100_000, "expected a JSON object"),
        ("[]", "expected a JSON object"),
        ("{", "expected a JSON object"),
    ],
)
def test_other_information_is_refused_in_one_line(path, text, said):
    with_info(path, text)
    with pytest.raises(InputError, match=said) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_are_no_numbers_are_refused(path, tiny_network):
    model, info = load_checkpoint(path)
    model.get_layer("conv1").set_weights(
        [np.full_like(weight, np.nan) for weight in model.get_layer("conv1").get_weights()]
    )
    save_checkpoint(model, path, info)
    with pytest.raises(InputError, match=r"conv1/kernel in .* has non-finite numbers"):
        load_checkpoint(path)


def test_a_bomb_is_refused_before_it_is_unpacked(path):
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/zeros", bytes(100_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="would unpack its"):
            load_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "policy"),
    [("Tiny", "mixed_float16"), ("Tiny", "mixed_bfloat16"), ("ResNet50", "mixed_bfloat16")],
)
def test_half_precision_ends_with_training(tiny_network, tmp_path, name, policy):
    model = build(name, policy)
    model.get_layer(name="dense").trainable = False
    save_checkpoint(model, tmp_path / "new.keras", INFO)
    model.save(tmp_path / "old.keras")  # as earlier versions did
    with zipfile.ZipFile(tmp_path / "old.keras", "a") as archive:
        archive.writestr(MEMBER, info_without())
    assert "float16" not in zipfile.ZipFile(tmp_path / "new.keras").read("config.json").decode()
    exact = build(name)
    exact.set_weights(model.get_weights())
    expected = exact.predict(faces(), verbose=0)
    np.testing.assert_allclose(model.predict(faces(), verbose=0), expected, atol=0.05)
    for file in ("new", "old"):
        single, _ = load_checkpoint(tmp_path / f"{file}.keras")
        assert {layer.compute_dtype for layer in single.layers} == {"float32"}
        assert [layer.name for layer in single.layers] == [layer.name for layer in model.layers]
        assert not single.get_layer("dense").trainable
        np.testing.assert_equal(single.get_weights(), model.get_weights())
        np.testing.assert_allclose(single.predict(faces(), verbose=0), expected, atol=1e-6)


def test_half_precision_inside_an_inner_network_ends_too(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        inner = keras.Sequential([keras.Input((48, 48)), keras.layers.Flatten()])
        inner.add(keras.layers.Dense(8))
        given = keras.Input((48, 48), dtype="uint8")
        scaled = keras.layers.Rescaling(1 / 255, dtype="float32")(given)
        model = keras.Model(given, keras.layers.Softmax(dtype="float32")(inner(scaled)))
    finally:
        keras.config.set_dtype_policy("float32")
    save_checkpoint(model, tmp_path / "inner.keras", INFO)
    assert b"float16" not in zipfile.ZipFile(tmp_path / "inner.keras").read("config.json")
    single, _ = load_checkpoint(tmp_path / "inner.keras")
    kernel, bias = model.get_weights()
    sums = (faces() / np.float32(255)).reshape(2, -1) @ kernel + bias
    powers = np.exp(sums - sums.max(axis=1, keepdims=True))
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(single.predict(faces(), verbose=0), expected, atol=1e-5)
    assert np.abs(model.predict(faces(), verbose=0) - expected).max() > 1e-4


PLAIN = """
import sys
import tracemalloc
if sys.argv[1] == "keras":
    import keras, ferplus_keras
else:
    import ferplus_keras
    assert "keras" not in sys.modules
    from ferplus_keras.extras import require
    require(["keras"], "a look that imports nothing")
    import keras
print(keras.models.load_model(sys.argv[2]).input_shape)
"""


@pytest.mark.parametrize("first", ["keras", "ferplus_keras"])
def test_plain_keras_opens_checkpoints(path, first):
    # The module that held the layer in earlier versions.
    moved = (b"ferplus_keras.models.layers", b"ferplus_keras.models.preprocess")
    rewrite(path, lambda _, content: content.replace(*moved))
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, first, str(path)], capture_output=True, text=True
    )
    assert done.stdout == "(None, 48, 48)\n", done.stderr
