import sys
from pathlib import Path

import pytest

from ferplus_keras.inference import predictor as predictor_module
from ferplus_keras.inference.faces import DETECTORS
from ferplus_keras.models.registry import MODELS
from tests import tiny
from tests.inference.exports import drawn, write_checkpoint
from tests.inference.faces import by_brightness, red_patches


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> Path:
    """Return the file of a tiny network that tells faces apart."""
    path = tmp_path_factory.mktemp("run") / "model_max_acc.keras"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, tiny.MODULE, tiny)
        patch.setitem(MODELS, tiny.SPEC.name, tiny.SPEC)
        write_checkpoint(path)
    return path


@pytest.fixture(scope="session")
def exported(tiny_checkpoint, tmp_path_factory):
    """Return a function from format and precision to the export and its result."""
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("exporting runs on TensorFlow")
    from ferplus_keras.inference.export import default_target, export

    faces = drawn(150)
    made = {}

    def find(kind: str, precision: str = "float32"):
        if (kind, precision) not in made:
            folder = tmp_path_factory.mktemp(f"{kind}-{precision}")
            target = folder / default_target(tiny_checkpoint, kind, precision).name
            made[kind, precision] = export(
                tiny_checkpoint, target, kind, precision, faces[:70], calibration=faces[70:]
            )
        return made[kind, precision]

    return find


@pytest.fixture
def light(monkeypatch):
    """Let any model be one that judges by brightness, and any detector look for red."""
    monkeypatch.setattr(predictor_module, "load_classifier", lambda path: by_brightness())
    monkeypatch.setattr(predictor_module, "BUNDLED", Path(__file__))
    monkeypatch.setitem(DETECTORS, "mtcnn", lambda weights: red_patches)
