import csv
import os
import subprocess
import sys

import pytest

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
    model_name="Tiny", weights="none", image_size=48, batch_size=32, nepochs=2, dropout_rate=0,
    class_weights=["balanced"],
))
"""


def losses(sample_data, folder, num_gpus):
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, str(sample_data), str(folder), str(num_gpus)],
        cwd=REPOSITORY,
        env=os.environ | {"KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with (folder / str(num_gpus) / "training.csv").open() as file:
        return [(float(row["loss"]), float(row["val_loss"])) for row in csv.DictReader(file)]


def test_two_devices_share_batches_and_agree_with_one(sample_data, tmp_path):
    pytest.importorskip("tensorflow")
    one, two = (losses(sample_data, tmp_path, number) for number in (1, 2))
    # BatchNormalization sees half of a batch on each device, hence not equal.
    for alone, shared in zip(one, two, strict=True):
        assert shared == pytest.approx(alone, rel=0.05)
        assert shared != alone
