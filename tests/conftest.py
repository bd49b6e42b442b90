import gc
import os
import signal
import sys
from pathlib import Path

import pytest

from ferplus_keras.models.registry import MODELS
from tests import tiny

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # processes that share the cores would delay each other
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background jobs
    signal.signal(signal.SIGINT, signal.default_int_handler)


REPOSITORY = Path(__file__).resolve().parent.parent

SLOW = (
    *("test_readme", "training/test_train", "test_backends", "test_kill", "test_extending"),
    *("training/test_lr_finder", "training/test_distillation", "training/test_sharing"),
    *("models/test_registry", "test_recipes", "test_export", "explain/test_methods"),
    *("serve/test_server", "explain/test_command", "test_own_network"),
    *("training/test_pretrain", "training/test_devices", "tools/test_campaign", "oracle/"),
    *("models/test_checkpoint", "models/test_imagenet", "models/test_vit", "sweep/test_sweep"),
    *("evaluation/test_evaluate", "evaluation/test_card", "data/test_batches"),
    *("test_distribution", "test_gpu", "training/test_features", "explain/test_explain_face"),
    *("models/test_dlib", "test_colour_faces", "training/test_batch_size"),
)
"""Tests that train, start processes, build large networks or compare backends; longest first."""


def pytest_collection_modifyitems(items):
    """Mark them, so that `make quick` leaves them out, and run them first."""

    def place(item):
        name = item.path.relative_to(REPOSITORY / "tests").as_posix()
        return next((at for at, slow in enumerate(SLOW) if name.startswith(slow)), len(SLOW))

    items.sort(key=place)
    for item in items:
        if place(item) < len(SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Keep parsed pixels out of the user's cache folder, and what JAX compiles for later tests."""
    patch = pytest.MonkeyPatch()
    patch.setenv("FERPLUS_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
    patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    patch.setenv("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    yield
    patch.undo()


def forget_networks() -> None:
    """Free networks that were trained: TensorFlow's gradients keep them (its issue 97697)."""
    if ops := sys.modules.get("tensorflow.python.framework.ops"):
        registered = ops.gradient_registry._registry
        for name in [name for name in registered if name.startswith("CustomGradient-")]:
            del registered[name]
    gc.collect()


@pytest.fixture(autouse=True)
def little_to_collect():
    """Keep what one test leaves in memory out of the collections during the next."""
    yield
    forget_networks()
    gc.freeze()


class SignalWhenDeleted:
    """Sends a signal where Python cannot raise an exception: in a `__del__`."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        signal.raise_signal(self.number)


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
    monkeypatch.setitem(MODELS, tiny.SPEC.name, tiny.SPEC)
    return tiny.SPEC.name


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> Path:
    """Return the file of a tiny network that tells faces apart."""
    from tests.exports import write_checkpoint

    path = tmp_path_factory.mktemp("run") / "model_max_acc.keras"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, tiny.SPEC.name, tiny.SPEC)
        write_checkpoint(path)
    return path


@pytest.fixture(scope="session")
def exported(tiny_checkpoint, tmp_path_factory):
    """Return a function from format and precision to the export and its result."""
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("exporting runs on TensorFlow")
    from ferplus_keras.export import default_target, export
    from tests.exports import drawn

    faces = drawn(150)
    made = {}

    def find(kind: str, precision: str = "float32"):
        if (kind, precision) not in made:
            folder = tmp_path_factory.mktemp(f"{kind}-{precision}")
            target = folder / default_target(tiny_checkpoint, kind, precision).name
            made[kind, precision] = export(
                [tiny_checkpoint], target, kind, precision, faces[:70], calibration=faces[70:]
            )
        return made[kind, precision]

    return find
