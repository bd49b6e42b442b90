from pathlib import Path

import pytest

from ferplus_keras.classifier import Classifier
from ferplus_keras.inference import detectors, sources
from ferplus_keras.inference import predictor as predictor_module
from ferplus_keras.inference.detectors import DETECTORS
from tests.inference.faces import by_brightness, red_patches


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Let YuNet's file lie nowhere: tests fetch nothing."""
    monkeypatch.delenv("FERPLUS_WEIGHTS_DIR", raising=False)
    monkeypatch.setattr(detectors, "YUNET_URL", "http://127.0.0.1:9/yunet.onnx")
    monkeypatch.setattr(detectors, "say_once", lambda text: None)
    monkeypatch.setattr(sources, "say_once", lambda text: None)


@pytest.fixture
def light(monkeypatch):
    """Let any model be one that judges by brightness, and any detector look for red."""
    monkeypatch.setattr(Classifier, "open", lambda path: by_brightness())
    monkeypatch.setattr(predictor_module, "BUNDLED", Path(__file__))
    monkeypatch.setitem(DETECTORS, "auto", lambda weights: red_patches)
