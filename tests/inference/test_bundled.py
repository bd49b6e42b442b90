"""The model that comes with the package is the one that its card describes."""

import hashlib
import re

import numpy as np
import onnxruntime
import pytest

from ferplus_keras.classifier import Classifier
from ferplus_keras.data.dataset import load_split
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.formats import onnx
from ferplus_keras.inference.predictor import BUNDLED
from ferplus_keras.models.checkpoint import read_info
from ferplus_keras.models.published import find_weights
from ferplus_keras.models.registry import MODELS, build_model
from tests.conftest import REPOSITORY

CARD = (REPOSITORY / "docs" / "model_card.md").read_text(encoding="utf-8")


def test_size_hash_and_classes():
    assert BUNDLED.stat().st_size <= 1_500_000
    assert hashlib.sha256(BUNDLED.read_bytes()).hexdigest() in CARD
    info = Classifier.open(BUNDLED).info
    assert info.class_names == FERPLUS_CLASSES
    assert (info.label_rule, info.evaluation_rule) == ("ms_crossentropy", "majority")


def test_accuracy_on_the_real_test_split_is_what_the_card_says(real_data):
    test = load_split(real_data, "test")
    probabilities = Classifier.open(BUNDLED).probabilities
    right = probabilities(test.images).argmax(axis=1) == test.targets.argmax(axis=1)
    stated = float(re.search(r"\| test \| 3,275 \| ([\d.]+) %", CARD)[1])
    assert 100 * right.mean() == pytest.approx(stated, abs=0.1)
    assert right.mean() > 0.85


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


@pytest.mark.parametrize(("name", "accuracy"), [("FastFER", 0.8747), ("DlibResNet", 0.8844)])
def test_weights_to_start_from_are_those_of_the_results(real_data, name, accuracy):
    """On the first of the validation faces; the whole split would take minutes."""
    validation = load_split(real_data, "validation").take(np.arange(600))
    size = read_info(find_weights(MODELS[name], "ferplus")).image_size
    network = build_model(name, 8, weights="ferplus", image_size=size)
    found = network.predict(np.asarray(validation.images), verbose=0).argmax(axis=1)
    right = (found == validation.targets.argmax(axis=1)).mean()
    assert right == pytest.approx(accuracy, abs=0.03)
