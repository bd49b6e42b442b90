"""Commands say where they compute, and which GPU they leave idle."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ferplus_keras import hardware
from tests.conftest import REPOSITORY

HIDING = ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS")
WARNING = "this machine has an NVIDIA GPU, which"


def command(*words, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "ferplus_keras", *map(str, words)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k not in HIDING} | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture
def machine_with_gpu(tmp_path):
    """A machine whose NVIDIA driver lists a GPU; backends without CUDA's libraries see none."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)'\n")
    program.chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}"}


def test_training_names_its_processor_and_warns_of_an_idle_gpu(
    sample_data, tmp_path, machine_with_gpu
):
    words = (
        "train --model_name FaceEmotionCNN --limit_train 32 --limit_validation 16 --nepochs 1 "
        "--mixed_precision bfloat16 --loggers none --overwrite "
        f"--data_dir {sample_data} --checkpoints_dir {tmp_path}"
    ).split()
    said = command(*words, **machine_with_gpu)
    assert f"training on {hardware.hardware()['cores']} processor core" in said
    assert ", bfloat16\n" in said
    assert WARNING in said
    assert "pip install 'ferplus-keras[" in said
    assert WARNING not in command(*words, "--num_gpus", "0", **machine_with_gpu)


def test_an_exported_model_runs_on_the_processor_without_a_warning(machine_with_gpu):
    pytest.importorskip("onnxruntime")
    picture = REPOSITORY / "docs" / "example.jpg"
    said = command("predict", picture, "--faces", "whole", **machine_with_gpu)
    assert re.fullmatch(r"classifying on \d+ processor cores?", said.splitlines()[0])  # it is int8
    assert WARNING not in said


@pytest.mark.parametrize(
    ("gpus", "used", "named"),
    [
        (["NVIDIA H100"], 1, "training on NVIDIA H100, bfloat16\n"),
        (["A", "B", "C"], 2, "training on A and B, bfloat16\n"),
        (["A"], 0, "training on 2 processor cores, bfloat16\n"),
        ([], 1, "training on 2 processor cores, bfloat16\n"),
    ],
)
def test_the_line_names_what_is_used(gpus, used, named, monkeypatch, capsys):
    monkeypatch.setattr(hardware, "_gpus", lambda: gpus)
    monkeypatch.setattr(hardware, "cores", lambda: 2)
    monkeypatch.setattr(hardware, "_has_nvidia_device", lambda: False)
    hardware.announce("training", "bfloat16", gpus=used)
    assert capsys.readouterr().err == named


@pytest.mark.parametrize(
    "hiding", ["CUDA_VISIBLE_DEVICES=", "CUDA_VISIBLE_DEVICES=-1", "JAX_PLATFORMS=cpu"]
)
def test_a_gpu_that_was_hidden_is_not_warned_of(hiding, monkeypatch, capsys):
    monkeypatch.setattr(hardware, "_gpus", lambda: [])
    monkeypatch.setattr(hardware, "cores", lambda: 1)
    monkeypatch.setattr(hardware, "_has_nvidia_device", lambda: True)
    for name in HIDING:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(*hiding.split("="))
    hardware.announce("training")
    assert capsys.readouterr().err == "training on 1 processor core, float32\n"


@pytest.mark.parametrize(
    "error", [FileNotFoundError("nvidia-smi"), subprocess.TimeoutExpired("nvidia-smi", 20)]
)
def test_a_driver_that_is_not_there_or_does_not_answer_lists_no_gpu(error, monkeypatch):
    def run(*words, **options):
        raise error

    monkeypatch.setattr(hardware.subprocess, "run", run)
    assert hardware._has_nvidia_device() == Path("/dev/nvidia0").exists()
