import contextlib
import csv
import dataclasses
import errno
import importlib
import io
import json
import math
import os
import signal
import sys
import time
import traceback
import types
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from ferplus_keras import extras
from ferplus_keras.cli import main
from ferplus_keras.config import EvaluateConfig, TrainConfig, read_config
from ferplus_keras.data.dataset import load_split
from ferplus_keras.errors import InputError, Terminated, UsageError
from ferplus_keras.evaluation.evaluate import evaluate
from ferplus_keras.models.checkpoint import CheckpointInfo, load_checkpoint, read_info
from ferplus_keras.models.registry import MODELS
from ferplus_keras.progress import progress_bar
from ferplus_keras.run import Run
from ferplus_keras.training import callbacks, loggers, prepare
from ferplus_keras.training.schedules import POLICIES, plan_stages, planned_rates
from ferplus_keras.training.settle import read_dataset, resolve
from ferplus_keras.training.train import train
from tests import tiny
from tests.conftest import REPOSITORY, SignalWhenDeleted
from tests.data.test_own_size import write
from tests.training.runs import final_weights, rows, train_until


@pytest.fixture
def config(tiny_config):
    return dataclasses.replace(
        tiny_config,
        init_lr=0.01,
        batch_size=32,
        nepochs=2,
        dropout_rate=0.5,
        class_weights=("balanced",),
        name="run",
    )


def test_run_folder_is_complete_and_true(config, capsys):
    folder = train(config)
    for name in (
        "config.yaml",
        "run.json",
        "training.csv",
        "curves.png",
        "model_max_acc.keras",
        "model_min_loss.keras",
        "final_model.keras",
        "resume_state.npz",
    ):
        assert (folder / name).stat().st_size > 0, name
    assert list((folder / "logs" / "train").glob("events.*"))
    assert not list(folder.glob(".*"))

    history = rows(folder)
    assert [row["epoch"] for row in history] == [1, 2]
    text = (folder / "training.csv").read_text()
    assert [line.partition(",")[0] for line in text.splitlines()] == ["epoch", "1", "2"]
    best = max(history, key=lambda row: row["val_accuracy"])
    record = json.loads((folder / "run.json").read_text())
    assert record["best"]["val_accuracy"] == best["val_accuracy"]
    assert record["data"].keys() == {"fer2013.csv", "fer2013new.csv"}
    assert len(record["class_weights"]) == 8
    assert record["versions"]["keras"] == keras.__version__
    assert {"commit", "hardware", "versions", "backend", "seed", "data"} <= set(record)
    info = read_info(folder / "model_max_acc.keras")
    assert (info.epoch, info.label_rule) == (best["epoch"], "majority")
    said = capsys.readouterr().out
    assert "images/s" in said
    assert "training every layer: " in said


def test_evaluation_repeats_the_logged_validation_accuracy(config):
    folder = train(config)
    report = evaluate(EvaluateConfig(checkpoint_path=str(folder)))  # the data are the run's
    best = max(rows(folder), key=lambda row: row["val_accuracy"])
    validation = report["splits"]["validation"]
    assert validation["accuracy"] == pytest.approx(best["val_accuracy"], abs=1e-6)
    assert validation["loss"] == pytest.approx(best["val_loss"], abs=1e-4)
    assert json.loads((folder / "report.json").read_text()) == report

    with (folder / "predictions.csv").open() as file:
        lines = list(csv.DictReader(file))
    for name, scores in report["splits"].items():
        of_split = [line for line in lines if line["split"] == name]
        assert len({line["row"] for line in of_split}) == scores["n"] == len(of_split)
        right = sum(line["label"] == line["predicted"] for line in of_split)
        assert right / scores["n"] == pytest.approx(scores["accuracy"])


def test_the_bar_spans_the_run_and_its_validation(config, monkeypatch):
    bars, seen = [], []

    def keep(**options):
        bars.append(progress_bar(**options))
        return bars[-1]

    def on_epoch_end(self, epoch, logs):
        seen.append((self.bar.n, self.bar.desc))
        after(self, epoch, logs)

    after = callbacks.Progress.on_epoch_end
    monkeypatch.setattr(callbacks, "progress_bar", keep)
    monkeypatch.setattr(callbacks.Progress, "on_epoch_end", on_epoch_end)
    train(dataclasses.replace(config, limit_train=70, limit_validation=23))
    assert seen == [(93, "epoch 1/2: "), (186, "epoch 2/2: ")]
    train(dataclasses.replace(config, nepochs=3, resume=True, limit_train=70, limit_validation=23))
    assert [bar.total for bar in bars] == [186, 279]
    assert bars[1].initial == 186
    assert seen[2] == (279, "epoch 3/3: ")


def test_a_run_is_used_from_any_folder(config, sample_data, tmp_path, monkeypatch):
    monkeypatch.chdir(sample_data.parent)
    folder = train(dataclasses.replace(config, data_dir=sample_data.name, nepochs=1))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    report = evaluate(EvaluateConfig(checkpoint_path=str(folder)))
    assert report["splits"]["test"]["n"] > 0


def test_training_goes_on_without_tensorboard(config, monkeypatch, capsys):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    folder = train(dataclasses.replace(config, nepochs=1))
    assert not (folder / "logs").exists()
    assert "no TensorBoard logs without tensorflow and tensorboard" in capsys.readouterr().out


def test_a_swallowed_interrupt_is_sent_again(config, monkeypatch):
    """As when the signal arrives within a garbage-collection hook."""
    seen = []

    def on_train_batch_begin(self, batch, logs=None):
        seen.append(batch)
        time.sleep(0.02)
        if len(seen) == 1:
            SignalWhenDeleted(signal.SIGINT)

    monkeypatch.setattr(
        callbacks.Progress, "on_train_batch_begin", on_train_batch_begin, raising=False
    )
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(dataclasses.replace(config, nepochs=1000))
        assert len(seen) < 100
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)],
    ids=["SIGINT", "SIGTERM"],
)
def test_an_interrupt_that_becomes_a_system_error_is_one(number, kind):
    """As TensorFlow makes of it while it traces."""

    def trace():
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(number)
        raise SystemError("bad argument to internal function")

    with pytest.raises(kind), callbacks.Interruptible():
        trace()


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "Adam", "lr_patience": 1, "label_rule": "ms_probability"},
        {"optimizer": "SGD", "lr_policy": "step", "lr_decay_epochs": 3},
        {
            "optimizer": "SGD",
            "lr_policy": "cosine",
            "warmup_epochs": 1,
            "ema": 0.9,
            "mixup": 0.2,
            "cutmix": 1.0,
            "sampling": "balanced",
            "trunk_lr": 0.1,
            "label_rule": "ms_crossentropy",
        },
        {"optimizer": "Nadam", "lr_policy": "constant", "mixed_precision": "float16"},
    ],
    ids=["plateau", "step", "average", "nadam"],
)
def test_a_resumed_run_equals_the_unbroken_one(config, settings):
    # A learning rate at which the validation loss does not fall steadily, so that plateau acts.
    config = dataclasses.replace(
        config, nepochs=8, early_stopping=0, init_lr=0.3, **settings, class_weights=("none",)
    )
    unbroken = rows(train(dataclasses.replace(config, name="unbroken")))
    train_until(config, epoch=5, batch=3)
    assert len(rows(config.run_dir)) == 5
    resumed = rows(train(dataclasses.replace(config, resume=True)))
    assert resumed == unbroken
    if POLICIES[config.lr_policy]:  # what is logged is what the optimiser looks up
        steps = json.loads((config.run_dir / "run.json").read_text())["train_rows"] / 32
        planned = planned_rates(plan_stages(config)[0], math.ceil(steps))[:: math.ceil(steps)]
        assert [row["learning_rate"] for row in resumed] == pytest.approx(planned)
    if config.lr_policy == "plateau":
        assert len({row["learning_rate"] for row in unbroken}) > 1  # the schedule's state mattered
    unbroken_run = config.run_dir.with_name("unbroken")
    np.testing.assert_equal(final_weights(config.run_dir), final_weights(unbroken_run))


@pytest.mark.parametrize(("ema", "stops"), [(0.0, (1, 2, 3)), (0.5, (2,))])
def test_stages_resumed_within_and_between_equal_the_unbroken_run(config, ema, stops):
    stages = ("2:dense:0.1", "2:conv1:0.05", "1:0:0.01")
    config = dataclasses.replace(
        config, stages=stages, early_stopping=0, class_weights=("none",), limit_train=96, ema=ema
    )
    unbroken = rows(train(dataclasses.replace(config, name="unbroken")))
    rates = [row["learning_rate"] for row in unbroken]
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.01])
    for stop in stops:
        stopped = dataclasses.replace(config, name=f"stopped_in_{stop}")
        train_until(stopped, epoch=stop, batch=1)
        assert rows(train(dataclasses.replace(stopped, resume=True))) == unbroken, stop


def test_a_finished_epoch_is_saved_before_ctrl_c_ends_the_run():
    with callbacks.Interruptible() as watching, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with callbacks.Interruptible() as watching:
        watching.on_epoch_end(0)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            watching.on_epoch_begin(1)
    with callbacks.Interruptible() as watching:
        watching.on_epoch_end(0)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):  # who asks again does not wait
            signal.raise_signal(signal.SIGINT)


def test_stages_train_only_what_lies_behind_their_boundary(config, monkeypatch):
    seen = []

    class Watch(callbacks.SetEpoch):
        def remember(self, logs=None):
            seen.append({layer.name: layer.get_weights() for layer in self.model.layers})

        on_train_begin = on_train_end = remember

    monkeypatch.setattr("ferplus_keras.training.callbacks.SetEpoch", Watch)
    before = signal.getsignal(signal.SIGTERM)
    stages = ("1:dense:0.1", "1:conv1:0.1")
    train(dataclasses.replace(config, stages=stages, limit_train=96, ema=0.5, trunk_lr=0.5))
    assert signal.getsignal(signal.SIGTERM) is before
    for begin, end, trained in (
        (*seen[:2], {"dense"}),
        (*seen[2:], {"conv1", "bn1", "dense"}),
    ):
        for name, weights in begin.items():
            same = [np.array_equal(was, now) for was, now in zip(weights, end[name], strict=True)]
            assert not any(same) if name in trained else all(same), name


def test_a_stage_does_not_go_on_with_the_numbers_of_the_one_before(config):
    config = dataclasses.replace(
        config, stages=("1:dense:0.1", "1:0:0.1"), metrics=("F1Score",), limit_train=96
    )
    unbroken = rows(train(config))
    again = dataclasses.replace(config, name="again")
    train_until(again, epoch=1, batch=1)
    assert rows(train(dataclasses.replace(again, resume=True))) == unbroken


def test_a_run_stopped_before_it_begins_is_not_to_be_resumed(config, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "compile_stage", stop)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    assert capsys.readouterr().err.endswith("stopped; finished epochs: 0\n")


def test_an_unknown_boundary_of_a_later_stage_is_refused_at_once(config):
    with pytest.raises(UsageError, match="conv9"):
        train(dataclasses.replace(config, stages=("1:dense:0.1", "1:conv9:0.1")))
    assert not (config.run_dir / "training.csv").exists()


def test_the_moving_average_is_what_is_saved(config):
    """Recomputed by a plain loop from the weights that each step left."""
    config = dataclasses.replace(
        config, ema=0.5, optimizer="SGD", nepochs=1, limit_train=96, class_weights=("none",)
    )
    steps = []

    class Watch(callbacks.SetEpoch):
        def on_train_batch_end(self, batch, logs=None):
            steps.append([np.array(v) for v in self.model.trainable_variables])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ferplus_keras.training.callbacks.SetEpoch", Watch)
        folder = train(config)
    assert len(steps) == 3
    average = steps[0]
    for weights in steps[1:]:
        average = [0.5 * a + 0.5 * w for a, w in zip(average, weights, strict=True)]
    for name in ("model_max_acc.keras", "final_model.keras"):
        saved = load_checkpoint(folder / name)[0].trainable_variables
        for variable, expected in zip(saved, average, strict=True):
            np.testing.assert_allclose(np.array(variable), expected, rtol=1e-4, atol=1e-6)


def test_wandb_gets_settings_and_numbers(config, monkeypatch):
    calls = []

    class Run:
        def log(self, numbers, step):
            calls.append((step, numbers))

        def finish(self):
            calls.append("finished")

    fake = types.ModuleType("wandb")
    fake.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
    fake.init = lambda **settings: calls.append(settings) or Run()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    stages = ("1:dense:0.1", "1:0:0.05")
    folder = train(dataclasses.replace(config, loggers=("wandb",), stages=stages))
    first, one, done, second, two, done_again = calls
    assert first["config"]["stages"] == list(stages)
    assert (one[0], two[0]) == (1, 2)
    assert one[1]["val_accuracy"] == pytest.approx(rows(folder)[0]["val_accuracy"])
    assert done == done_again == "finished"
    assert second == first  # by its id, the second stage continues the same run
    assert json.loads((folder / "run.json").read_text())["wandb_id"] == first["id"]
    assert not (folder / "logs").exists()


def test_of_several_processes_the_first_one_logs(config, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "ferplus_keras.training.train.own_run",
        lambda run: contextlib.nullcontext(Run(tmp_path / "of_another")),
    )
    train(dataclasses.replace(config, nepochs=1, limit_train=64))
    assert not (tmp_path / "of_another" / "logs").exists()


def test_a_logger_that_is_missing_is_refused_at_once(config, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"ferplus-keras\[wandb\]"):
        train(dataclasses.replace(config, loggers=("wandb",)))
    assert not config.run_dir.exists() or not list(config.run_dir.iterdir())


def test_early_stopping_counts_on_after_a_resume(config, capsys):
    config = dataclasses.replace(config, nepochs=30, early_stopping=2, init_lr=1e-12)
    train_until(config, epoch=1, batch=0)
    folder = train(dataclasses.replace(config, resume=True))
    accuracies = [row["val_accuracy"] for row in rows(folder)]
    assert len(accuracies) == accuracies.index(max(accuracies)) + 3
    assert "stopped early: 2 epochs without better validation accuracy" in capsys.readouterr().out
    with pytest.raises(InputError, match="early stopping ended it"):
        train(dataclasses.replace(config, resume=True))


def stop_before_the_end(config, monkeypatch):
    """Train all epochs, and press Ctrl-C after the last one's state."""

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ferplus_keras.training.train._finish", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config)


@pytest.mark.parametrize(
    "settings", [{}, {"ema": 0.5}, {"early_stopping": 1, "init_lr": 1e-12, "nepochs": 30}]
)
def test_a_run_stopped_between_its_last_epoch_and_its_end_is_finished(
    config, monkeypatch, settings
):
    config = dataclasses.replace(config, early_stopping=0, limit_train=96)
    config = dataclasses.replace(config, **settings)
    unbroken = train(dataclasses.replace(config, name="unbroken"))

    stop_before_the_end(config, monkeypatch)
    run = Run(config.run_dir)
    assert run.is_interrupted
    with monkeypatch.context() as patch:  # no epoch is left, nor features or a logger's run to make
        patch.setattr(keras.Model, "fit", None)
        folder = train(dataclasses.replace(config, resume=True))
    assert run.is_trained
    assert rows(folder) == rows(unbroken)
    np.testing.assert_equal(final_weights(folder), final_weights(unbroken))
    record = run.record()
    seconds = run.state()[0]["callbacks"]["Progress 0"]["seconds"]
    assert (len(seconds), sum(seconds)) == (record["epochs"], record["seconds"])
    with pytest.raises(InputError, match="is complete"):
        train(dataclasses.replace(config, resume=True))


def test_a_run_that_is_ended_early_keeps_the_number_of_its_epochs(config):
    train_until(dataclasses.replace(config, nepochs=9), epoch=1, batch=0)
    train(dataclasses.replace(config, nepochs=1, resume=True))
    assert Run(config.run_dir).settings()["nepochs"] == 1
    with pytest.raises(InputError, match="is complete after 1 epochs"):
        train(TrainConfig(**Run(config.run_dir).settings() | {"resume": True}))


def test_a_run_of_an_older_version_lacks_new_settings_and_goes_on(config):
    """As after an upgrade that added one: its default held then."""
    folder = train(config)
    lines = (folder / "config.yaml").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("cutmix:", "trunk_lr:"))]
    assert len(kept) == len(lines) - 2
    (folder / "config.yaml").write_text("\n".join(kept))
    line = f"--resume --checkpoints_dir {config.checkpoints_dir} --name run --nepochs 3".split()
    again = read_config(TrainConfig, line, "train.py")
    with pytest.raises(UsageError, match=r"--cutmix was 0\.0, got 1\.0"):
        train(read_config(TrainConfig, [*line, "--cutmix", "1"], "train.py"))
    assert len(rows(train(again))) == 3


def test_a_run_is_resumed_from_python_with_what_it_began_with(config):
    began = dataclasses.replace(config, limit_train=96, dropout_rate=0.7, nepochs=1)
    settings = Run(train(began)).settings()
    left_out = dict.fromkeys(("limit_train", "dropout_rate", "image_size"))
    again = dataclasses.replace(began, nepochs=2, resume=True, **left_out)
    assert Run(train(again)).settings() == settings | {"nepochs": 2}
    with pytest.raises(UsageError, match=r"--init_lr was .* give what it was"):
        train(dataclasses.replace(again, init_lr=0.5))


def test_a_run_that_is_renamed_to_auto_goes_on_under_that_name(config):
    config = dataclasses.replace(config, nepochs=1, limit_train=64)
    train(config).rename(config.run_dir.with_name("auto"))
    folder = train(dataclasses.replace(config, name="auto", nepochs=2, resume=True))
    assert (folder.name, len(rows(folder))) == ("auto", 2)


def test_a_list_of_rows_to_leave_out_may_move_before_a_run_is_resumed(config, tmp_path):
    moved = tmp_path / "lists" / "exclude.csv"
    moved.parent.mkdir()
    (tmp_path / "exclude.csv").write_text("row\n3\n5\n")
    train(dataclasses.replace(config, nepochs=1, exclude=str(tmp_path / "exclude.csv")))
    (tmp_path / "exclude.csv").rename(moved)
    again = dataclasses.replace(config, nepochs=2, exclude=str(moved), resume=True)
    assert len(rows(train(again))) == 2
    moved.write_text("row\n3\n")
    with pytest.raises(InputError, match="not the ones"):
        train(dataclasses.replace(again, nepochs=3))


def test_overwriting_removes_all_that_came_of_the_run_and_nothing_else(config):
    folder = train(config)
    ours = ("report.json", "predictions.csv", "report.html", "confusion_matrix.png")
    derived = ("model_max_acc.onnx", "model_max_acc_int8.tflite", "explanations_2.png")
    for name in (*ours, *derived, "notes.txt", "other.onnx"):
        (folder / name).write_text("old")
    train(dataclasses.replace(config, overwrite=True, nepochs=1))
    left = {path.name for path in folder.iterdir()}
    assert not left & {*ours, *derived}
    assert {"notes.txt", "other.onnx"} <= left


@pytest.mark.parametrize("removed", range(4))
def test_a_run_killed_while_it_is_cleared_can_be_overwritten(tmp_path, monkeypatch, removed):
    run = Run(tmp_path / "run")
    names = ("config.yaml", "run.json", "final_model.keras", "resume_state.npz")
    for name in names:
        run.folder.mkdir(exist_ok=True)
        (run / name).write_text("model_name: Tiny\nlabel_rule: a\nfreeze_before: 0\n")
    remove, calls = Path.unlink, []

    def kill(self, **options):
        if len(calls) == removed:
            raise KeyboardInterrupt
        calls.append(self.name)
        remove(self, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", kill)
        with pytest.raises(KeyboardInterrupt):
            run.clear()
    assert len([name for name in names if (run / name).exists()]) == len(names) - removed
    run.require_usable(resume=False, overwrite=True)


@pytest.mark.parametrize(
    ("owner", "writer", "name"),
    [(np, "savez", "resume_state.npz"), (pd.DataFrame, "to_csv", "training.csv")],
)
def test_a_full_disk_leaves_the_file_of_the_epoch_before(config, monkeypatch, owner, writer, name):
    config = dataclasses.replace(config, nepochs=1, limit_train=64)
    folder = train(config)
    before = (folder / name).read_bytes()

    def write_a_part(*given, **more):
        *_, file = given
        file.write_bytes(b"a part") if isinstance(file, Path) else file.write(b"a part")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(owner, writer, write_a_part)
    with pytest.raises((InputError, OSError), match="No space left"):
        train(dataclasses.replace(config, nepochs=2, resume=True))
    assert (folder / name).read_bytes() == before


def test_a_run_without_its_state_is_not_begun_again_by_resume(config, monkeypatch):
    folder = train(config)
    (folder / "resume_state.npz").unlink()
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for names in ((), ("final_model.keras",)):  # the second as if it had been interrupted
        for name in names:
            (folder / name).unlink()
            del before[name]
        with pytest.raises(InputError, match=r"has no resume_state\.npz, without which --resume"):
            train(dataclasses.replace(config, resume=True, nepochs=3))
        found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        assert found == before


def test_a_refused_state_leaves_a_finished_run_as_it_was(config):
    folder = train(config)
    with np.load(folder / "resume_state.npz") as saved:
        arrays = dict(saved)
    del arrays[max(name for name in arrays if name.startswith("variable"))]
    np.savez(folder / "resume_state.npz", **arrays)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(InputError, match="nothing was loaded"):
        train(dataclasses.replace(config, resume=True, nepochs=3))
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert found == before


def test_a_run_without_its_best_model_is_not_resumed(config):
    folder = train(config)
    (folder / "model_max_acc.keras").unlink()
    with pytest.raises(InputError, match=r"has no model_max_acc\.keras, without which --resume"):
        train(dataclasses.replace(config, resume=True, nepochs=3))
    assert "best" in Run(folder).record()


def test_a_strangers_folder_is_not_overwritten(config):
    config.run_dir.mkdir(parents=True)
    (config.run_dir / "config.yaml").write_text("theirs: 1\n")
    (config.run_dir / "logs").mkdir()
    (config.run_dir / "logs" / "log.txt").write_text("theirs")
    with pytest.raises(InputError, match="holds no run of ferplus_keras"):
        train(dataclasses.replace(config, overwrite=True))
    assert (config.run_dir / "config.yaml").read_text() == "theirs: 1\n"
    assert (config.run_dir / "logs" / "log.txt").read_text() == "theirs"


def test_a_folder_that_is_not_utf_8_is_refused_and_can_be_locked(config, tmp_path, monkeypatch):
    place = tmp_path / os.fsdecode(b"caf\xe9")
    with pytest.raises(InputError, match="whose name is not UTF-8"):
        train(dataclasses.replace(config, checkpoints_dir=str(place)))
    assert not place.exists()
    monkeypatch.setattr(sys, "argv", ["test.py", str(place)])
    with Run(place).writing(), pytest.raises(InputError, match=r"test\.py"), Run(place).writing():
        pytest.fail("was locked twice")


def test_a_second_process_may_not_write_the_same_run(config):
    run = Run(config.run_dir)
    with run.writing(), pytest.raises(InputError, match=r"is in use by process \d+ \("):
        train(config)
    train(config)
    assert not list(config.run_dir.glob(".*"))


@pytest.mark.parametrize("label_rule", ["ms_multi_target", "majority"])
def test_every_right_class_counts_in_the_logged_accuracy(config, label_rule):
    """Recomputed by a plain loop over the rows of the last epoch's network."""
    config = dataclasses.replace(
        config,
        label_rule=label_rule,
        evaluation_rule="ms_multi_target",
        class_weights=("none",),
    )
    folder = train(config)
    split = load_split(config.data_dir, "validation", label_rule="ms_multi_target")
    model, _ = load_checkpoint(folder / "final_model.keras")
    predicted = model.predict(split.images, verbose=0).argmax(axis=1)
    right = [target[best] == 1 for target, best in zip(split.targets, predicted, strict=True)]
    assert np.mean(right) > np.mean(split.targets.argmax(axis=1) == predicted)
    assert rows(folder)[-1]["val_accuracy"] == pytest.approx(np.mean(right), abs=1e-6)


def test_a_number_that_is_none_is_never_the_best(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(callbacks, "save_checkpoint", lambda model, path, info: saved.append(info))
    info = CheckpointInfo("Tiny", 48, ("a", "b"), "FERPlus", "majority", "majority")
    best = callbacks.SaveBest(tmp_path / "a.keras", "val_loss", info, None)
    for epoch, loss in enumerate((math.nan, math.nan, 2.0, math.inf, 1.0, math.nan, 1.5)):
        best.on_epoch_end(epoch, {"val_loss": loss})
    assert [one.epoch for one in saved] == [1, 3, 5]
    assert best.best == 1.0


def test_no_callback_waits_for_each_batch(config, monkeypatch):
    """Otherwise Keras calls the hooks in turn, and a fast device waits for Python."""
    seen = []
    dispatch = keras.callbacks.CallbackList._configure_async_dispatch

    def watch(self, hooks):
        dispatch(self, hooks)
        seen.append((self._async_train, self._async_test))

    monkeypatch.setattr(keras.callbacks.CallbackList, "_configure_async_dispatch", watch)
    monkeypatch.setattr("keras.src.callbacks.callback_list.backend.IS_THREAD_SAFE", True)
    train(dataclasses.replace(config, nepochs=1, limit_train=64))
    assert seen
    assert set(seen) == {(True, True)}


def test_few_own_frames_stand_between_the_command_line_and_fit(config, monkeypatch):
    frames = []

    def fit(self, *arguments, **settings):
        frames.extend(frame.filename for frame in traceback.extract_stack())
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "fit", fit)
    line = f"--data_dir {config.data_dir} --model_name {config.model_name} --weights none "
    line += f"--image_size 48 --checkpoints_dir {config.checkpoints_dir} --num_gpus 0"
    assert main(["train", *line.split()]) == 130
    own = [name for name in frames if Path(name).is_relative_to(REPOSITORY / "ferplus_keras")]
    assert len(own) <= 2  # train.py itself is the third


def test_a_finished_run_goes_on_only_with_more_epochs(config):
    train(config)
    with pytest.raises(InputError, match="raise --nepochs"):
        train(dataclasses.replace(config, resume=True))
    folder = train(dataclasses.replace(config, resume=True, nepochs=3))
    assert len(rows(folder)) == 3
    assert "nepochs: 3\n" in (folder / "config.yaml").read_text()


def test_an_interrupted_run_ends_after_its_finished_epochs_but_not_before(config):
    config = dataclasses.replace(config, nepochs=3, limit_train=64)
    train_until(config, epoch=2, batch=0)
    with pytest.raises(UsageError, match=r"--nepochs 1: .* has finished 2 epochs already"):
        train(dataclasses.replace(config, resume=True, nepochs=1))
    assert not (config.run_dir / "final_model.keras").exists()
    folder = train(dataclasses.replace(config, resume=True, nepochs=2))
    assert len(rows(folder)) == 2
    assert read_info(folder / "final_model.keras").epoch == 2


def test_a_plan_that_has_ended_does_not_go_on(config):
    config = dataclasses.replace(config, lr_policy="cosine", nepochs=1, limit_train=64)
    train(config)
    with pytest.raises(InputError, match=r"planned to the end.*final_model\.keras"):
        train(dataclasses.replace(config, resume=True))


def test_balanced_sampling_does_not_weigh_classes_too():
    config = TrainConfig(sampling="balanced")
    assert resolve(config).class_weights == ("none",)
    own = dataclasses.replace(config, class_weights=("balanced",))
    assert resolve(own).class_weights == ("balanced",)
    assert resolve(TrainConfig()).class_weights is None


def test_own_pictures_are_read_as_large_and_colourful_as_the_network_takes_them(config, tmp_path):
    write(tmp_path / "own", {"train/a": 3, "train/b": 3, "val/a": 1, "val/b": 1}, side=200)
    own = dataclasses.replace(config, dataset_name="Folder", data_dir=str(tmp_path / "own"))
    for network, size, expected in (("Tiny", 70, (64, False)), ("ResNet50", None, (192, True))):
        asked = dataclasses.replace(own, model_name=network, image_size=size)
        _, found = read_dataset(resolve(asked))
        assert (found.face_size, found.colour) == expected


def test_same_seed_same_run_other_seed_other_run(config):
    first = rows(train(config))
    again = rows(train(dataclasses.replace(config, name="again", workers=0)))
    other = rows(train(dataclasses.replace(config, name="other", seed=1)))
    assert first == again
    assert first != other


def test_an_existing_run_is_neither_overwritten_nor_lost(config):
    folder = train(config)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        train(config)
    assert {name: (folder / name).read_bytes() for name in before} == before
    train(dataclasses.replace(config, overwrite=True, nepochs=1))
    assert len(rows(folder)) == 1
    assert (folder / "notes.txt").read_text() == "mine"


def test_other_data_are_refused_on_resume(config, tmp_path):
    from ferplus_keras.data.sample_faces import write_sample_data

    train(config)
    write_sample_data(tmp_path / "other", rows=400, seed=2)
    with pytest.raises(InputError, match="not the ones"):
        train(dataclasses.replace(config, resume=True, nepochs=3, data_dir=str(tmp_path / "other")))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("resume_state.npz", lambda whole: whole[:300] + b"~" + whole[301:], "state of the run"),
        ("resume_state.npz", lambda whole: whole[: len(whole) // 2], "state of the run"),
        ("resume_state.npz", lambda whole: saved(header="[]"), "state of the run"),
        ("resume_state.npz", lambda whole: saved(header='{"epochs": "2"}'), "state of the run"),
        ("resume_state.npz", lambda whole: saved(header=COUNTERS_OF_OTHERS), "another network"),
        ("run.json", lambda whole: b"{}", "not the ones"),
        ("run.json", lambda whole: b'{"data": 5}', "not the ones"),
        ("run.json", lambda whole: b"[" * 100_000, "cannot read"),
    ],
)
def test_a_damaged_run_is_refused_in_one_line(trained_once, name, content, said):
    config, folder = trained_once
    path = folder / name
    whole = path.read_bytes()
    path.write_bytes(content(whole))
    try:
        with pytest.raises(InputError, match=said) as caught:
            train(dataclasses.replace(config, resume=True, nepochs=3))
    finally:
        path.write_bytes(whole)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


COUNTERS_OF_OTHERS = '{"epochs": 1, "stopped": false, "callbacks": {"History 0": {"run": 1}}}'


def saved(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.fixture(scope="module")
def trained_once(sample_data, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, tiny.SPEC.name, tiny.SPEC)
        config = tiny.config(
            sample_data, tmp_path_factory.mktemp("once"), nepochs=2, limit_train=64
        )
        yield config, train(config)


def test_a_resume_on_another_machine_is_remarked(config, capsys):
    run = Run(train(config))
    record = run.record()
    run.write_record(record | {"backend": "abacus", "hardware": {"cores": 12345}})
    train(dataclasses.replace(config, resume=True, nepochs=3))
    said = capsys.readouterr().err
    assert "note: the backend was abacus when this run began" in said
    assert "note: the number of cores was 12345 when this run began" in said
    run.write_record(record)
    train(dataclasses.replace(config, resume=True, nepochs=4))
    assert "note:" not in capsys.readouterr().err


def test_rows_for_testing_are_not_needed(config, sample_data, tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("fer2013.csv", "fer2013new.csv"):
        lines = (sample_data / name).read_text().splitlines()
        kept = [line for line in lines if "PrivateTest" not in line]
        assert len(kept) < len(lines)
        (tmp_path / "data" / name).write_text("\n".join([*kept, ""]))
    train(dataclasses.replace(config, data_dir=str(tmp_path / "data"), nepochs=1))


def test_freezing_and_limits_reach_the_run(config, capsys):
    folder = train(
        dataclasses.replace(
            config, freeze_before="conv1", limit_train=64, nepochs=1, class_weights=None
        )
    )
    record = json.loads((folder / "run.json").read_text())
    assert record["train_rows"] == 64
    assert record["freeze_before"]["name"] == "conv1"
    assert "warning: " in capsys.readouterr().err  # frozen at random weights
    model = load_checkpoint(folder / "final_model.keras")[0]
    assert not model.get_layer("bn0").trainable
    assert model.get_layer("bn1").trainable
    statistics = keras.ops.convert_to_numpy(model.get_layer("bn0").moving_mean)
    np.testing.assert_array_equal(statistics, 0)


def test_half_precision_trains_and_keeps_float32_outside(config, monkeypatch):
    seen = []

    class Watch(callbacks.SetEpoch):
        def on_train_begin(self, logs=None):
            seen.append(self.model.get_layer("conv1").compute_dtype)

    monkeypatch.setattr(callbacks, "SetEpoch", Watch)
    folder = train(dataclasses.replace(config, mixed_precision="bfloat16", nepochs=1))
    assert seen == ["bfloat16"]
    model = load_checkpoint(folder / "final_model.keras")[0]
    assert model.get_layer("conv1").compute_dtype == "float32"
    assert all(weight.dtype == "float32" for weight in model.weights)
    assert model.output.dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"


def test_a_loss_that_is_no_number_ends_the_run(config):
    with pytest.raises(InputError, match="not a number after epoch 1"):
        train(dataclasses.replace(config, optimizer="SGD", init_lr=1e30))
    assert not (config.run_dir / "final_model.keras").exists()


def test_a_validation_loss_that_is_no_number_ends_the_run():
    stop = callbacks.StopOnNaN()
    stop.on_epoch_end(0, {"loss": 1.0, "val_loss": 2.0})
    with pytest.raises(InputError, match="the validation loss is not a number after epoch 3"):
        stop.on_epoch_end(2, {"loss": 1.0, "val_loss": math.nan})


def test_a_checkpoint_starts_another_run_with_its_head(config):
    folder = train(config)
    path = folder / "model_max_acc.keras"
    again = train(
        dataclasses.replace(config, name="again", weights=str(path), init_lr=1e-12, nepochs=1)
    )
    best = max(row["val_accuracy"] for row in rows(folder))
    # Weights as they were; only BatchNormalization statistics moved.
    assert rows(again)[0]["val_accuracy"] == pytest.approx(best, abs=0.2)
    record = json.loads((again / "run.json").read_text())
    assert record["weights"]["path"] == str(path)


def test_a_run_is_resumed_without_the_weights_that_it_began_with(config, tmp_path):
    folder = train(dataclasses.replace(config, nepochs=1, limit_train=64, name="first"))
    path = tmp_path / "weights.keras"
    (folder / "final_model.keras").rename(path)
    config = dataclasses.replace(config, weights=str(path), nepochs=1, limit_train=64)
    train(config)
    path.unlink()
    folder = train(dataclasses.replace(config, resume=True, nepochs=2))
    assert len(rows(folder)) == 2


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"resume": True, "overwrite": True}, InputError, "choose one"),
        ({"weights": "nowhere.h5"}, InputError, "no weights at nowhere.h5"),
        ({"image_size": 47, "data_dir": "nowhere"}, UsageError, "must be 48 or more, not 47"),
        (
            {"weights": "ferplus"},
            UsageError,
            "belongs to --model_name CompactFER or FastFER or DlibR",
        ),
        ({"weights": "/"}, InputError, "no checkpoint at /model_max_acc.keras"),
        ({"weights": "a", "checkpoint_path": "b"}, UsageError, "both say where"),
        ({"weights": ""}, UsageError, "expected a name or a path, got ''"),
        ({"checkpoint_path": ""}, UsageError, "expected a name or a path, got ''"),
        ({"loss": "crossentropi"}, UsageError, "got 'crossentropi'"),
        ({"metrics": ("f3",)}, UsageError, "got 'f3'"),
        ({"data_dir": "nowhere"}, InputError, "nowhere"),
        ({"class_weights": (1.0, 2.0)}, UsageError, "8"),
        ({"dataset_name": "FER", "class_weights": ("wtomin",)}, UsageError, "7 numbers"),
        ({"num_gpus": 99}, InputError, "--num_gpus 99"),
        ({"freeze_before": "conv9"}, UsageError, "nearest: conv"),
        ({"label_rule": "ms_multi_target", "mixup": 0.2}, UsageError, "sets of right classes"),
        ({"warmup_epochs": 1}, UsageError, "needs a planned --lr_policy"),
        ({"optimizer_args": ("speed=3",)}, UsageError, "does not accept speed=3"),
    ],
)
def test_refusals_leave_nothing_behind(config, settings, kind, said):
    with pytest.raises(kind, match=said) as caught:
        train(dataclasses.replace(config, **settings))
    assert "\n" not in str(caught.value)
    assert not [path for path in config.run_dir.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("losses", "shown"),
    [((3.2, 2.9, 2.1), {"2.2", "2.4", "3"}), ((2.3, 0.8, 0.2), {"0.2", "0.5", "1", "2"})],
)
def test_the_losses_of_the_curves_are_plain_numbers(losses, shown, tmp_path, monkeypatch):
    drawn, draw = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: drawn.append(f) or draw(f, *a, **k))
    names = ("accuracy", "val_accuracy", "loss", "val_loss", "learning_rate")
    rows = [{"epoch": i} | dict.fromkeys(names, loss) for i, loss in enumerate(losses, start=1)]
    callbacks.draw_curves(rows, tmp_path / "curves.png")
    labels = {label.get_text() for label in drawn[0].axes[1].get_yticklabels(which="both")}
    assert shown <= labels
    assert not any("$" in label for label in labels)


def test_a_finished_run_that_goes_on_is_interrupted_until_its_end(config, monkeypatch):
    config = dataclasses.replace(config, early_stopping=0, limit_train=96, nepochs=1)
    run, more = Run(train(config)), dataclasses.replace(config, resume=True, nepochs=2)

    stop_before_the_end(more, monkeypatch)
    assert run.is_interrupted
    train(more)
    assert run.is_trained
    assert run.record()["epochs"] == 2
    assert load_checkpoint(run / "final_model.keras")[1].epoch == 2


def test_layers_that_are_named_for_no_penalty_are_refused(config):
    with pytest.raises(UsageError, match="--reg_layers needs a penalty: give --reg_func l1 or l2"):
        train(dataclasses.replace(config, reg_layers=("no_such_layer",)))
