"""The model that comes with the package is the one that its card describes."""

import hashlib
import re

import pytest

from ferplus_keras.classifier import Classifier
from ferplus_keras.data.dataset import load_split
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.inference.predictor import BUNDLED
from tests.conftest import REPOSITORY

CARD = (REPOSITORY / "docs" / "model_card.md").read_text(encoding="utf-8")


def test_size_hash_and_classes():
    assert BUNDLED.stat().st_size <= 4_000_000
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
