import subprocess
import sys
from types import SimpleNamespace

import pytest

from ferplus_keras.run import Run
from tests.backends import environment
from tests.conftest import REPOSITORY

TWO_DEVICES = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from ferplus_keras.config import TrainConfig
from ferplus_keras.models.registry import MODELS
from ferplus_keras.training import devices
from ferplus_keras.training.train import train
from tests import tiny

MODELS["Tiny"] = tiny.SPEC
devices.list_gpus = lambda: ["cpu:0", "cpu:1"]
train(TrainConfig(
    data_dir=sys.argv[1], checkpoints_dir=sys.argv[2], name=sys.argv[3], num_gpus=int(sys.argv[3]),
    model_name="Tiny", weights="none", image_size=48, batch_size=33, nepochs=2, dropout_rate=0,
    class_weights=["balanced"],
))
"""


def losses(sample_data, folder, num_gpus):
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, str(sample_data), str(folder), str(num_gpus)],
        cwd=REPOSITORY,
        env=environment("tensorflow"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [(row["loss"], row["val_loss"]) for row in Run(folder / str(num_gpus)).history()]


def test_two_devices_share_batches_and_agree_with_one(sample_data, tmp_path):
    pytest.importorskip("tensorflow")
    one, two = (losses(sample_data, tmp_path, number) for number in (1, 2))
    # BatchNormalization sees half of a batch, 17 or 16 rows, on each device, hence not equal.
    for alone, shared in zip(one, two, strict=True):
        assert shared == pytest.approx(alone, rel=0.05)
        assert shared != alone


@pytest.mark.parametrize(
    ("backend", "network", "gpus", "installed", "said"),
    [
        ("jax", "CompactFER", [], True, "TensorFlow trains CompactFER 1.5 times as fast as jax"),
        ("jax", "CompactFER", ["gpu:0"], True, None),
        ("jax", "CompactFER", [], False, None),
        ("jax", "VGG16", [], True, None),  # not measured
        ("torch", "ResNet50", [], True, "TensorFlow trains ResNet50 2.0 times as fast as torch"),
        ("torch", "FastFER", [], True, None),  # not measured
        ("tensorflow", "CompactFER", [], True, None),
    ],
)
def test_a_faster_backend_is_named(backend, network, gpus, installed, said, monkeypatch):
    from ferplus_keras.training import devices

    monkeypatch.setattr(devices.keras.backend, "backend", lambda: backend)
    monkeypatch.setattr(devices, "list_gpus", lambda: gpus)
    monkeypatch.setattr(devices, "find_spec", lambda name: installed or None)
    note = devices.faster_backend(network)
    assert note is None if said is None else said in note and "KERAS_BACKEND=tensorflow" in note


def test_on_torch_its_own_count_of_gpus_is_taken(monkeypatch):
    """Keras' list of devices is one of TensorFlow and JAX only."""
    from ferplus_keras.training import devices

    cuda = SimpleNamespace(device_count=lambda: 2)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(devices.keras.backend, "backend", lambda: "torch")
    monkeypatch.setattr(devices.keras, "distribution", None)
    assert devices.list_gpus() == ["gpu:0", "gpu:1"]
    cuda.device_count = lambda: 0
    assert "TensorFlow trains DlibResNet" in devices.faster_backend("DlibResNet")


def test_a_policy_of_the_users_own_is_not_the_runs():
    import keras

    from ferplus_keras.training.devices import compute_dtype

    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with compute_dtype("none"):
            assert keras.layers.Dense(1).compute_dtype == "float32"
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")


def test_measured_networks_exist():
    from ferplus_keras.models.registry import MODELS
    from ferplus_keras.training.devices import TENSORFLOW_GAIN

    assert {network for network, _ in TENSORFLOW_GAIN} <= set(MODELS)
