"""The short round on every backend: train, be interrupted, resume, evaluate, as a user would."""

import csv
import importlib.util
import json
import signal
import subprocess
import sys
import time

import numpy as np
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


ONE_STEP = """
import keras, numpy as np
from ferplus_keras.models.layers import classify
from ferplus_keras.training.losses import find_loss

inputs = keras.Input((2,))
find_loss("multi_target", weighted=True)
model = keras.Model(inputs, classify(inputs, 3, 0.0, "softmax"))
before = np.float32([[0, 150, 300], [0, 0.5, 1]])
model.layers[-1].set_weights([before, np.zeros(3, "float32")])
model.compile(keras.optimizers.SGD(1.0), find_loss("categorical_crossentropy"), jit_compile=False)
model.train_on_batch(np.float32([[1, 0], [0, 1]]), np.float32([[1, 0, 0], [0, 1, 0]]))
print((before - model.layers[-1].get_weights()[0]).tolist())
print(float(model.predict(np.float32([[1, 0]]), verbose=0)[0, 0]))
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_a_class_that_seems_impossible_is_learned(backend):
    """Where a wrong class is certain, the step is that of logits: probability minus target."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, "-c", ONE_STEP], env=environment(backend), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    step, answer = map(json.loads, done.stdout.splitlines())
    usual = np.exp([0, 0.5, 1]) / np.exp([0, 0.5, 1]).sum()
    expected = np.array([[0 - 1, 0, 1], usual - [0, 1, 0]]) / 2  # the mean over the two faces
    np.testing.assert_allclose(step, expected, atol=1e-5)
    assert answer == 0  # what is evaluated is not raised
