"""Devices and processes that share each batch on JAX train and evaluate as one device does."""

import csv
import importlib.util
import json
import socket
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from ferplus_keras import cluster
from ferplus_keras.cluster import join
from ferplus_keras.data.batches import Batches
from ferplus_keras.data.targets import Split
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.run import HISTORY, Run
from tests.backends import environment
from tests.conftest import REPOSITORY

RUN = """
import json, sys
from ferplus_keras.config import EvaluateConfig, TrainConfig
from ferplus_keras.evaluation.evaluate import evaluate
from ferplus_keras.models.registry import MODELS
from ferplus_keras.training.train import train
from tests import tiny

MODELS["Tiny"] = tiny.SPEC
settings = json.loads(sys.argv[1])
shared = {k: settings.get(k) for k in ("num_gpus", "coordinator", "num_processes", "process_id")}
train(TrainConfig(
    model_name="Tiny", weights="none", image_size=48, batch_size=32, limit_train=301,
    dropout_rate=0.2, optimizer="SGD", class_weights=["balanced"], loggers=["none"], **settings,
))
evaluate(EvaluateConfig(
    name=settings["name"], checkpoints_dir=settings["checkpoints_dir"], batch_size=30, **shared
))
"""


def start(sample_data, folder, name, num_gpus=0, **settings):
    """Start a run of 301 rows (so that the last batch is odd), with as many virtual devices."""
    places = {"data_dir": str(sample_data), "checkpoints_dir": str(folder), "name": name}
    settings = {"nepochs": 2, "num_gpus": num_gpus, **places, **settings}
    devices = f"--xla_force_host_platform_device_count={max(num_gpus, 1)}"
    return subprocess.Popen(
        [sys.executable, "-c", RUN, json.dumps(settings)],
        cwd=REPOSITORY,
        env=environment("jax", devices),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes):
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output
    return outputs


def weights(run):
    import keras

    import ferplus_keras  # noqa: F401 - registers its layers

    model = keras.models.load_model(run / "final_model.keras", compile=False)
    return [np.asarray(value) for value in model.get_weights()]


def probabilities(run):
    with (run / "predictions.csv").open() as file:
        rows = list(csv.reader(file))
    first = rows[0].index("predicted") + 1
    found = np.array([row[first:] for row in rows[1:]], float)
    assert found.shape == (75, 8)  # a number that four devices do not share evenly
    return found


@pytest.fixture(scope="module")
def alone(sample_data, tmp_path_factory):
    pytest.importorskip("jax")
    folder = tmp_path_factory.mktemp("sharing")
    finish(start(sample_data, folder, "alone"))
    return folder / "alone"


def assert_equal(run, alone):
    for one, other in zip(weights(run), weights(alone), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(probabilities(run), probabilities(alone), atol=1e-4)


def test_four_devices_share_batches_of_any_size(sample_data, alone):
    finish(start(sample_data, alone.parent, "four", num_gpus=4))
    assert_equal(alone.parent / "four", alone)


def test_two_processes_share_batches_and_another_number_resumes(sample_data, alone):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    job = {"coordinator": coordinator, "num_processes": 2, "nepochs": 1}
    first, second = finish(
        *(start(sample_data, alone.parent, "two", process_id=i, **job) for i in range(2))
    )
    assert "epoch 1/1" in first
    assert "epoch 1/1  accuracy" not in second
    finish(start(sample_data, alone.parent, "two", num_gpus=2, resume=True))
    assert_equal(alone.parent / "two", alone)


class Half:
    """The second of two processes with one device each."""

    def own(self, rows):
        return slice(rows // 2, rows)

    def place(self, share, rows):
        return share


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ({"augmentation": "wtomin"}, 5),
        ({"augmentation": "khaireddin"}, 5),
        ({"augmentation": "strong"}, 5),
        ({"augmentation": "wtomin", "mixup_alpha": 0.4}, 10),
        ({"cutmix_alpha": 1.0}, 10),
    ],
    ids=str,
)
def test_a_share_is_what_the_whole_batch_holds_there(settings, needed):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 48, 48)).astype(np.uint8)
    targets = np.eye(8, dtype=np.float32)[rng.integers(0, 8, 20)]
    read = []

    class Watched(np.ndarray):
        def __getitem__(self, rows):
            read.append(rows)
            return np.asarray(super().__getitem__(rows))

    split = Split(images.view(Watched), targets, np.arange(20), tuple("abcdefgh"))
    options = {"sampling": "shuffled", "seed": 3, "workers": 0, **settings}
    whole = Batches(split, 10, **options)[0]
    read.clear()
    share = Batches(split, 10, shares=Half(), **options)[0]
    for own, full in zip(share, whole, strict=True):
        np.testing.assert_array_equal(own, full[5:])
    assert [len(rows) for rows in read] == [needed]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("localhost:1", None, None), "belong together"),
        ((None, 4, None), "belong together"),  # outside any cluster
        (("localhost:1", 2, 2), "expected 0 to 1, got 2"),
    ],
)
def test_half_a_cluster_is_refused(given, said):
    with pytest.raises(UsageError, match=said):
        join(*given)


def test_other_backends_are_refused_by_name(monkeypatch):
    pytest.importorskip("tensorflow")
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(UsageError, match="KERAS_BACKEND=jax; this is tensorflow"):
        join("localhost:1", 2, 0)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLURM_NTASKS": "4"}, False),  # a batch script, outside srun
        ({"SLURM_NTASKS": "4", "SLURM_STEP_NODELIST": "n[1-4]"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
    ],
)
def test_clusters_are_recognised(monkeypatch, environment, expected):
    for name in (*cluster.SIZES, "SLURM_STEP_NODELIST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cluster._in_cluster() is expected


@pytest.mark.parametrize("installed", [False, True])
def test_kubernetes_is_recognised_where_jax_can_ask_it(monkeypatch, installed):
    for name in cluster.SIZES:
        monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_loader("kubernetes", None)
    package = importlib.util.module_from_spec(spec) if installed else None
    monkeypatch.setitem(sys.modules, "kubernetes", package)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.delenv("JOB_COMPLETION_INDEX", raising=False)
    assert not cluster._in_cluster()  # a pod of its own
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "0")
    assert cluster._in_cluster() is installed


def test_one_process_declines_the_cluster(monkeypatch):
    monkeypatch.setattr(cluster, "_in_cluster", lambda: True)
    monkeypatch.setattr(cluster, "choose_backend", lambda: None)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    join(None, 1, None)
    with pytest.raises(UsageError, match="--num_processes 1 ignores the cluster"):
        join(None, None, None)


@pytest.mark.parametrize(
    "error", [RuntimeError("no answer\nin time"), ValueError("no answer in time")]
)
def test_processes_that_cannot_be_reached_are_told_in_one_line(error, monkeypatch):
    def initialize(*given, **options):
        raise error

    distributed = SimpleNamespace(is_initialized=lambda: False, initialize=initialize)
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(distributed=distributed))
    monkeypatch.setattr(cluster, "choose_backend", lambda: None)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(InputError, match="cannot join the other processes: no answer in time"):
        join("localhost:1", 2, 0)


def test_the_loss_of_another_process_is_told_in_one_line(monkeypatch):
    lost = type("JaxRuntimeError", (RuntimeError,), {})("UNAVAILABLE: task 1\nis gone")
    assert cluster.lost_process(lost) is None  # alone: an error of its own
    monkeypatch.setattr(cluster, "process_count", lambda: 2)
    said = cluster.lost_process(lost)
    assert "a process of this job was lost (UNAVAILABLE: task 1" in said
    assert "train.py --resume" in said
    assert "\n" not in said
    assert cluster.lost_process(RuntimeError("mine")) is None
    assert "was lost" in cluster.lost_process(ValueError("UNKNOWN: Gloo AllGather failed: closed"))


def test_only_the_first_process_writes_into_the_run(monkeypatch, tmp_path):
    run = Run(tmp_path / "shared")
    run.folder.mkdir()
    (run / HISTORY).write_text("epoch\n1\n")
    with cluster.own_run(run) as own:
        assert own == run
    monkeypatch.setattr(cluster, "process_count", lambda: 2)
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(process_index=lambda: 0))
    with cluster.own_run(run) as own:
        assert own == run
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(process_index=lambda: 1))
    with cluster.own_run(run) as own:
        assert own.folder != run.folder
        assert (own / HISTORY).read_text() == "epoch\n1\n"
        (own / HISTORY).write_text("epoch\n1\n2\n")
    assert not own.folder.exists()
    assert (run / HISTORY).read_text() == "epoch\n1\n"
