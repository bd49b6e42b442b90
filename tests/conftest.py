import os
import sys
from pathlib import Path

import pytest

from ferplus_keras.models.registry import MODELS
from tests import tiny

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

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
    """Name of a network that trains in seconds."""
    monkeypatch.setitem(sys.modules, tiny.MODULE, tiny)
    monkeypatch.setitem(MODELS, tiny.SPEC.name, tiny.SPEC)
    return tiny.SPEC.name
