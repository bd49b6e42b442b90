from pathlib import Path

import pytest

from ferplus_keras.inference import predictor as predictor_module
from ferplus_keras.inference.faces import DETECTORS
from tests.inference.faces import by_brightness, red_patches


@pytest.fixture
def light(monkeypatch):
    """Let any model be one that judges by brightness, and any detector look for red."""
    monkeypatch.setattr(predictor_module, "load_classifier", lambda path: by_brightness())
    monkeypatch.setattr(predictor_module, "BUNDLED", Path(__file__))
    monkeypatch.setitem(DETECTORS, "mtcnn", lambda weights: red_patches)
