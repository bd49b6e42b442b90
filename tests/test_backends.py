"""The short round on every backend: train, be interrupted, resume, evaluate, as a user would."""

import csv
import importlib.util
import json
import signal
import subprocess
import sys
import time

import pytest

from tests.backends import environment
from tests.conftest import REPOSITORY


def start(backend, script, line):
    variables = environment(backend) | {"PYTHONUNBUFFERED": "1"}
    variables.pop("TF_NUM_INTRAOP_THREADS", None)  # so that threads count here
    return subprocess.Popen(
        [sys.executable, script, *line.split()],
        cwd=REPOSITORY,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_listen_to_ctrl_c,
    )


def _listen_to_ctrl_c():
    """Undo what a shell does to its background jobs, which ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def read_history(run):
    with (run / "training.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_train_interrupt_resume_test(backend, sample_data, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    line = (
        f"--data_dir {sample_data} --model_name FaceEmotionCNN --freeze_before conv3 "
        f"--limit_train 64 --batch_size 32 --class_weights balanced --nepochs 50 "
        f"--early_stopping 0 --checkpoints_dir {tmp_path} --name run --loggers none"
    )
    run = tmp_path / "run"
    first = start(backend, "train.py", line)
    while not (run / "resume_state.npz").is_file() and first.poll() is None:
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    said, errors = first.communicate()
    assert first.returncode == 130, said + errors
    assert "Traceback" not in errors
    assert "--resume" in errors

    finished = len(read_history(run))
    second = start(
        backend,
        "train.py",
        f"--checkpoints_dir {tmp_path} --name run --resume --nepochs {finished + 1}",
    )
    said, errors = second.communicate()
    assert second.returncode == 0, errors
    assert "training from conv3" in said
    history = read_history(run)
    assert [row["epoch"] for row in history] == [str(e + 1) for e in range(finished + 1)]

    evaluation = start(
        backend, "test.py", f"--checkpoint_path {run} --data_dir {sample_data} --batch_size 50"
    )
    said, errors = evaluation.communicate()
    assert evaluation.returncode == 0, errors
    report = json.loads((run / "report.json").read_text())
    assert report["backend"] == backend
    best = max(float(row["val_accuracy"]) for row in history)
    assert report["splits"]["validation"]["accuracy"] == pytest.approx(best, abs=1e-6)
