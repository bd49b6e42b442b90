import os
import sys
import types
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Keep parsed pixels out of the user's cache folder."""
    patch = pytest.MonkeyPatch()
    patch.setenv("FERPLUS_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with the real fer2013.csv and fer2013new.csv."""
    folder = os.environ.get("FERPLUS_DATA_DIR")
    if not folder:
        pytest.skip("FERPLUS_DATA_DIR names no folder with the real fer2013.csv and fer2013new.csv")
    return Path(folder)


@pytest.fixture(scope="session")
def sample_data(tmp_path_factory) -> Path:
    """Folder with a small drawn data set."""
    from ferplus_keras.data.sample_faces import write_sample_data

    folder = tmp_path_factory.mktemp("sample")
    write_sample_data(folder, rows=400, seed=1)
    return folder


@pytest.fixture
def tiny_network(monkeypatch) -> str:
    """Name of a network that trains in seconds: two convolutions with BatchNormalization."""
    from ferplus_keras.models.registry import MODELS, ModelSpec

    def backbone(images):
        from keras import layers

        x = images
        for index, filters in enumerate((8, 16)):
            x = layers.Conv2D(filters, 3, strides=3, name=f"conv{index}")(x)
            x = layers.BatchNormalization(name=f"bn{index}")(x)
            x = layers.ReLU(name=f"relu{index}")(x)
        return layers.GlobalAveragePooling2D(name="pool")(x)

    module = types.ModuleType("ferplus_keras.models.tiny")
    module.backbone = backbone
    monkeypatch.setitem(sys.modules, module.__name__, module)
    spec = ModelSpec("Tiny", "for tests", "tiny:backbone", (127.5,), weighted_layers=4)
    monkeypatch.setitem(MODELS, "Tiny", spec)
    return "Tiny"
