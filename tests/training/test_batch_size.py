"""--batch_size auto: the largest power of two that fits, which changes nothing else."""

import dataclasses

import numpy as np
import pytest

from ferplus_keras.cli import main
from ferplus_keras.config import TrainConfig, read_config
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.run import Run
from ferplus_keras.training import devices
from ferplus_keras.training.devices import largest_batch
from ferplus_keras.training.train import train
from tests.training.runs import final_weights

TensorFlows = type("ResourceExhaustedError", (Exception,), {})


def device(room, error):
    """Return an attempt that fails for more than `room` faces, and the sizes it was asked for."""
    asked = []

    def attempt(size):
        asked.append(size)
        if size > room:
            raise error

    return attempt, asked


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("RESOURCE_EXHAUSTED: Failed to allocate 5 bytes"),
        TensorFlows("OOM when allocating tensor"),
        MemoryError(),
    ],
)
@pytest.mark.parametrize(("room", "most", "found"), [(100, 4096, 64), (9, 500, 8), (999, 300, 256)])
def test_the_largest_that_fits(room, most, found, error):
    attempt, asked = device(room, error)
    assert largest_batch(attempt, most) == found
    assert len(asked) == len(set(asked))  # none is compiled twice
    assert max(asked) <= most


def test_too_little_for_one_face_and_another_error():
    with pytest.raises(InputError, match="memory for one face"):
        largest_batch(device(0, MemoryError())[0], 64)
    with pytest.raises(RuntimeError, match="no kernel"):
        largest_batch(device(8, RuntimeError("no kernel image"))[0], 64)


@pytest.fixture
def config(tiny_config):
    return dataclasses.replace(
        tiny_config, nepochs=1, limit_train=100, dropout_rate=0.5, loggers=("none",), name="auto"
    )


def test_trial_steps_leave_no_trace_and_a_resumed_run_keeps_the_number(
    config, monkeypatch, capsys, tmp_path
):
    import keras

    real = keras.Model.train_on_batch

    def small(model, x, *rest):
        if len(x) > 20:
            raise RuntimeError("CUDA out of memory")
        return real(model, x, *rest)

    monkeypatch.setattr(keras.Model, "train_on_batch", small)
    monkeypatch.setattr(devices, "list_gpus", lambda: ["gpu:0"])
    found = train(dataclasses.replace(config, batch_size="auto"))
    assert "batch size 16 (" in capsys.readouterr().out
    assert Run(found).settings()["batch_size"] == 16
    given = train(dataclasses.replace(config, batch_size=16, name="given"))
    np.testing.assert_equal(final_weights(found), final_weights(given))
    line = f"--checkpoints_dir {tmp_path} --name auto --resume --batch_size auto --nepochs 2"
    again = train(read_config(TrainConfig, line.split(), "train.py"))
    assert Run(again).settings()["batch_size"] == 16


def test_on_a_processor_memory_is_reckoned(config, monkeypatch):
    from ferplus_keras.models.registry import build_model

    model = build_model(config.model_name, 8, weights="none", image_size=48)
    faces = np.zeros((300, 48, 48), np.uint8)

    def found(room):
        monkeypatch.setattr(devices, "_free_memory", lambda: room)
        return devices.training_batch(model, None, faces, np.eye(8)[np.zeros(300, int)])

    assert found(2**40) == 256
    assert 1 < found(2**22) < 256
    assert found(0) == 1


@pytest.mark.parametrize("words", ["train --num_gpus 2", "pretrain"])
def test_refusals(words, config, capsys, sample_data, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "list_gpus", lambda: ["gpu:0", "gpu:1"])
    line = f"{words} --batch_size auto --data_dir {sample_data} --checkpoints_dir {tmp_path}"
    line += f" --model_name {config.model_name} --weights none --image_size 48 --name none"
    assert main(line.split()) == 2
    assert "auto" in capsys.readouterr().err


def test_other_words_are_no_number():
    with pytest.raises(UsageError, match="at least 1, or auto, got 'large'"):
        TrainConfig(batch_size="large")
