"""The model that comes with the package is the one that its card describes."""

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from ferplus_keras.classifier import Classifier
from ferplus_keras.cli import main
from ferplus_keras.data.dataset import load_split
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.errors import InputError
from ferplus_keras.formats import onnx
from ferplus_keras.inference.predictor import BUNDLED
from ferplus_keras.models.checkpoint import read_info
from ferplus_keras.models.published import find_weights
from ferplus_keras.models.registry import MODELS, build_model
from ferplus_keras.run import find_checkpoint
from ferplus_keras.serve.command import find_models
from tests.conftest import REPOSITORY

CARD = (REPOSITORY / "docs" / "model_card.md").read_text(encoding="utf-8")
MODELS_OF_THE_CARD = [("fast_fer.onnx", 1_500_000), ("dlib_resnet.onnx", 4_600_000)]


@pytest.mark.parametrize(("name", "largest"), MODELS_OF_THE_CARD)
def test_size_hash_and_classes(name, largest):
    path = find_checkpoint(name)
    assert path.stat().st_size <= largest
    assert hashlib.sha256(path.read_bytes()).hexdigest() in CARD
    info = Classifier.open(path).info
    assert info.class_names == FERPLUS_CLASSES
    assert (info.label_rule, info.evaluation_rule) == ("ms_crossentropy", "majority")


@pytest.mark.parametrize("place", [0, 1])
def test_accuracy_on_the_real_test_split_is_what_the_card_says(real_data, place):
    test = load_split(real_data, "test")
    probabilities = Classifier.open(MODELS_OF_THE_CARD[place][0]).probabilities
    right = probabilities(test.images).argmax(axis=1) == test.targets.argmax(axis=1)
    stated = re.findall(r"\| test \| 3,275 \| ([\d.]+) %", CARD)[place]
    assert 100 * right.mean() == pytest.approx(float(stated), abs=0.1)
    assert right.mean() > 0.85


@pytest.mark.parametrize("name", [name for name, _ in MODELS_OF_THE_CARD])
def test_no_two_classes_are_equally_probable(name):
    """8 bits of logits would leave the answer to the order of the classes."""
    faces = np.random.default_rng(0).integers(0, 256, (100, 48, 48), dtype=np.uint8)
    assert (np.diff(np.sort(Classifier.open(name).probabilities(faces), axis=1)) > 0).all()


def test_processors_without_exact_sums_give_the_same_answers(monkeypatch):
    faces = np.random.default_rng(0).integers(0, 256, (64, 48, 48), dtype=np.uint8)
    there = Classifier.open(BUNDLED).probabilities(faces)
    monkeypatch.setattr(onnx, "_sums_int8_exactly", lambda: False)
    options = []
    made = onnxruntime.InferenceSession

    def session(data, given, **kwargs):
        options.append(given.get_session_config_entry("session.disable_quant_qdq"))
        return made(data, given, **kwargs)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    elsewhere = Classifier.open(BUNDLED).probabilities(faces)
    assert options == ["1"]
    np.testing.assert_allclose(elsewhere, there, atol=0.05)
    assert (elsewhere.argmax(axis=1) == there.argmax(axis=1)).mean() > 0.95


@pytest.mark.parametrize(
    ("name", "accuracy"), [("FastFER", 0.8747), ("CompactFER", 0.8784), ("DlibResNet", 0.8844)]
)
def test_weights_to_start_from_are_those_of_the_results(real_data, name, accuracy):
    """On the first of the validation faces; the whole split would take minutes."""
    validation = load_split(real_data, "validation").take(np.arange(600))
    size = read_info(find_weights(MODELS[name], "ferplus")).image_size
    network = build_model(name, 8, weights="ferplus", image_size=size)
    found = network.predict(np.asarray(validation.images), verbose=0).argmax(axis=1)
    right = (found == validation.targets.argmax(axis=1)).mean()
    assert right == pytest.approx(accuracy, abs=0.03)


def test_networks_of_the_package_have_names(tmp_path, monkeypatch):
    shipped = find_weights(MODELS["DlibResNet"], "ferplus")
    assert find_checkpoint("dlib_resnet.keras") == shipped
    assert find_weights(MODELS["DlibResNet"], "dlib_resnet.keras") == shipped
    assert find_checkpoint("fast_fer.onnx") == BUNDLED
    assert shipped in find_models([Path("dlib_resnet.keras")]).values()
    monkeypatch.chdir(tmp_path)
    Path("dlib_resnet.keras").touch()  # a user's own goes before
    assert find_checkpoint("dlib_resnet.keras") == Path("dlib_resnet.keras")
    with pytest.raises(InputError, match=r"no checkpoint at dlib_resnet\.tflite"):
        find_checkpoint("dlib_resnet.tflite")


@pytest.mark.parametrize("named", ["fast_fer.keras", str(BUNDLED), os.path.relpath(BUNDLED)])
def test_nothing_is_written_into_the_package(named, capsys):
    folders = (BUNDLED.parent, find_checkpoint("fast_fer.keras").parent)
    before = [sorted(folder.iterdir()) for folder in folders]
    for words in (["test"], ["explain", "--images", "face.png"], ["export", "--format", "onnx"]):
        assert main([*words, "--checkpoint_path", named]) == 2
        said = capsys.readouterr().err
        assert re.fullmatch(rf"error: expected --output\w* for what is .* of {named}\n", said)
    assert [sorted(folder.iterdir()) for folder in folders] == before
