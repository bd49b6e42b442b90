import csv
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from ferplus_keras import sweep as sweep_module
from ferplus_keras.cli import main
from ferplus_keras.config import TrainConfig, read_config
from ferplus_keras.errors import InputError
from ferplus_keras.sweep import Trials, sweep
from ferplus_keras.sweep_plan import read_plan
from tests.conftest import REPOSITORY
from tests.data.test_folder import write_faces

FAKE = (sys.executable, str(REPOSITORY / "tests" / "sweep" / "fake_train.py"))

GRID = """
sampler: grid
base: {model_name: CompactFER, nepochs: 2, batch_size: 32}
search:
  init_lr: [0.01, 1e-3, 0.1]
  momentum: [0.9, 0.5]
"""
SWAPPED = """
sampler: grid
base: {model_name: CompactFER, nepochs: 2, batch_size: 32}
search:
  momentum: [0.9, 0.5]
  init_lr: [0.01, 1e-3, 0.1]
"""
TPE = """
sampler: tpe
trials: 12
metric: val_loss
base: {model_name: CompactFER, nepochs: 2}
search:
  init_lr: {low: 1e-4, high: 0.3, log: true}
  batch_size: {low: 16, high: 64, int: true, step: 16}
"""


def plan(tmp_path, text=GRID, *flags):
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return read_plan(path, flags)


def table(folder):
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def calls(folder):
    return [line for path in folder.glob("trials/*/calls.txt") for line in path.open()]


def test_two_workers_by_hand_share_a_grid(tmp_path, capsys):
    grid, folder = plan(tmp_path), tmp_path / "sweep"
    workers = [threading.Thread(target=sweep, args=(grid, folder, 2, FAKE)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    rows = table(folder)
    assert [row["state"] for row in rows] == ["complete"] * 6
    pairs = [(row["init_lr"], row["momentum"]) for row in rows]
    assert sorted(pairs) == sorted((a, b) for a in ("0.01", "1e-3", "0.1") for b in ("0.9", "0.5"))
    assert len(calls(folder)) == 6
    best = rows[pairs.index(("1e-3", "0.9"))]
    assert float(best["val_accuracy"]) == pytest.approx(0.589)
    assert (best["best_epoch"], best["seconds"]) == ("1", "1.2")

    recipe = read_config(TrainConfig, ["--config", str(folder / "best.yaml")], "train.py")
    assert recipe == TrainConfig(
        name="best",
        model_name="CompactFER",
        nepochs=2,
        batch_size=32,
        init_lr=1e-3,
        momentum=0.9,
    )
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    first = next(line for line in shown.splitlines() if line.split()[:1] == ["0.589"])
    assert first.split() == ["0.589", "1", best["number"], "1e-3", "0.9"]
    sweep(grid, folder, 2, FAKE)  # nothing is left to do
    assert len(calls(folder)) == 6


def test_a_failed_trial_is_recorded_and_the_others_run(tmp_path):
    sweep(plan(tmp_path, GRID.replace("1e-3", "0.4")), tmp_path / "sweep", 3, FAKE)
    rows = table(tmp_path / "sweep")
    assert Counter(row["state"] for row in rows) == {"complete": 4, "failed": 2}
    failed = [row for row in rows if row["state"] == "failed"]
    assert {row["init_lr"] for row in failed} == {"0.4"}
    assert {row["error"] for row in failed} == {"the loss is not a number after epoch 1"}


def test_a_sweep_of_which_every_trial_failed_is_no_success(tmp_path):
    text = GRID.replace("[0.01, 1e-3, 0.1]", "[0.4]")
    with pytest.raises(InputError, match=r"every trial failed \(.*sweep\.csv says why\); remove"):
        sweep(plan(tmp_path, text), tmp_path / "sweep", 2, FAKE)


def test_a_mapping_in_a_plan_is_a_list_of_pairs(tmp_path):
    pairs = "class_map: {good: [happiness, surprise], bad: anger}"
    found = plan(tmp_path, GRID.replace("nepochs: 2,", f"nepochs: 2, {pairs},"))
    sweep(found, tmp_path / "sweep", 2, FAKE)
    assert len(calls(tmp_path / "sweep")) == 6
    assert all(" good=happiness+surprise bad=anger" in line for line in calls(tmp_path / "sweep"))


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_highest_seed_draws_too(tmp_path, sampler):
    text = TPE.replace("sampler: tpe", f"sampler: {sampler}").replace("trials: 12", "trials: 2")
    text = text.replace("nepochs: 2}", f"nepochs: 2, seed: {2**32 - 1}}}")
    sweep(plan(tmp_path, text), tmp_path / "sweep", 1, FAKE)
    assert len(table(tmp_path / "sweep")) == 2


WORKER = """
import sys
from pathlib import Path
from ferplus_keras.sweep import sweep
from ferplus_keras.sweep_plan import read_plan
sweep(read_plan(Path(sys.argv[1])), Path(sys.argv[2]), 2, sys.argv[3:])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda n: n.name)
def test_an_ended_sweep_goes_on(tmp_path, number):
    hold, folder = tmp_path / "hold", tmp_path / "sweep"
    hold.touch()
    grid = plan(tmp_path)
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path / "plan.yaml"), str(folder), *FAKE],
        env=os.environ | {"HOLD": str(hold)},
        cwd=REPOSITORY,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_for(lambda: len(list(folder.glob("trials/*/resume_state.npz"))) == 2)
    worker.send_signal(number)
    worker.wait()
    trials = Trials(grid, folder)
    assert [trial.state.name for trial in trials.study.trials] == ["RUNNING"] * 2
    if number == signal.SIGKILL:  # the trainings do not know; nobody else may touch their folders
        assert trials.is_running(0)
        hold.unlink()
        wait_for(lambda: not trials.is_running(0) and not trials.is_running(1))
    else:
        assert {row["state"] for row in table(folder)} == {"interrupted"}
        hold.unlink()
    sweep(grid, folder, 2, FAKE)
    rows = table(folder)
    assert [row["state"] for row in rows] == ["complete"] * 6
    assert len({(row["init_lr"], row["momentum"]) for row in rows}) == 6
    resumed = [line for line in calls(folder) if "--resume True" in line]
    assert len(resumed) == (2 if number == signal.SIGINT else 0)
    assert len(calls(folder)) == 6 + len(resumed)


def test_a_trial_stopped_behind_its_last_epoch_counts_by_its_best_finite_one(tmp_path):
    trials = Trials(plan(tmp_path), tmp_path / "sweep", FAKE)
    job = trials.take()
    subprocess.run(job.command, stdout=job.log, check=True)
    history = trials.run(0) / "training.csv"
    history.write_text(history.read_text().replace("loss\n", "loss\n0,0.1,nan,nan\n"))
    job.finish(-signal.SIGTERM, True)
    os.close(job.log)
    (row,) = table(tmp_path / "sweep")
    assert (row["state"], row["best_epoch"]) == ("complete", "1")


def wait_for(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise TimeoutError


def test_tpe_stays_in_range_and_is_decided_by_the_seed(tmp_path):
    tpe = plan(tmp_path, TPE)
    sweep(tpe, tmp_path / "a", 1, FAKE)
    sweep(dataclasses.replace(tpe, trials=2), tmp_path / "b", 1, FAKE)
    first, second = table(tmp_path / "a"), table(tmp_path / "b")
    assert first[:2] == second
    assert len({row["init_lr"] for row in first}) == 12
    by_chance = plan(tmp_path, TPE.replace("tpe", "random"))
    sweep(by_chance, tmp_path / "random", 1, FAKE)
    drawn = [(row["init_lr"], row["batch_size"]) for row in first]
    random = [(row["init_lr"], row["batch_size"]) for row in table(tmp_path / "random")]
    assert drawn[:10] == random[:10]  # what Optuna starts with
    assert drawn[10:] != random[10:]  # what the trials so far decide
    assert all(1e-4 <= float(row["init_lr"]) <= 0.3 for row in first)
    assert {row["batch_size"] for row in first} <= {"16", "32", "48", "64"}
    lowest = min(first, key=lambda row: float(row["val_loss"]))
    best = read_config(TrainConfig, ["--config", str(tmp_path / "a" / "best.yaml")], "train.py")
    assert (best.init_lr, best.batch_size) == (
        float(lowest["init_lr"]),
        int(lowest["batch_size"]),
    )
    sweep(dataclasses.replace(tpe, trials=13), tmp_path / "a", 1, FAKE)  # more is no other sweep
    assert table(tmp_path / "a")[:12] == first
    assert len(table(tmp_path / "a")) == 13


def test_a_line_that_a_full_disk_cut_is_dropped_from_the_journal(tmp_path):
    grid = plan(tmp_path)
    sweep(grid, tmp_path / "s", 1, FAKE)
    journal = tmp_path / "s" / "journal.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole[: whole.rstrip(b"\n").rfind(b"\n") + 20])
    sweep(grid, tmp_path / "s", 1, FAKE)
    assert [row["state"] for row in table(tmp_path / "s")] == ["complete"] * 6
    journal.write_text("damaged\n")
    with pytest.raises(InputError, match=r"cannot read .*journal\.log: "):
        sweep(grid, tmp_path / "s", 1, FAKE)


def test_a_folder_keeps_to_its_plan(tmp_path):
    folder = tmp_path / "sweep"
    Trials(plan(tmp_path), folder)
    Trials(plan(tmp_path, GRID, "--data_dir", "elsewhere"), folder)
    for other in (
        plan(tmp_path, GRID, "--nepochs", "3"),
        plan(tmp_path, GRID.replace("0.5]", "0.6]")),
        plan(tmp_path, SWAPPED),
        plan(tmp_path, GRID.replace("sampler: grid", "sampler: random\ntrials: 2")),
    ):
        with pytest.raises(InputError, match=r"another (nepochs|momentum|search|sampler): it was"):
            Trials(other, folder)


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("sampler: grid", "sampler: gird", "did you mean 'grid'"),
        ("sampler: grid", "smapler: grid", "did you mean 'sampler'"),
        ("sampler: grid", "sampler: random", "needs trials: N"),
        ("sampler: grid", "sampler: grid\nmetric: val_acuracy", "did you mean 'val_accuracy'"),
        ("sampler: grid", "sampler: grid\ntrials: none", "whole number for trials"),
        ("sampler: grid", "sampler: grid\nconfig: nowhere.yaml", "no configuration file"),
        ("nepochs", "nepoch", "did you mean 'nepochs'"),
        ("nepochs: 2", "nepochs: 0", "--nepochs: expected a whole number"),
        ("nepochs: 2", "nepochs: 2, name: a", "name under base: is set by the sweep"),
        ("init_lr:", "inti_lr:", "did you mean 'init_lr'"),
        ("[0.01, 1e-3, 0.1]", "[0.01, fast]", "--init_lr: expected a number above 0"),
        ("[0.01, 1e-3, 0.1]", "[]", "init_lr: The `choices` must contain one or more"),
        ("[0.01, 1e-3, 0.1]", "0.01", "expected a list of choices or"),
        ("[0.01, 1e-3, 0.1]", "[0.01, 0.01]", "0.01 is given twice"),
        ("[0.01, 1e-3, 0.1]", "{low: 1, high: 0.1, step: 0.1}", "`low <= high` must hold"),
        ("[0.01, 1e-3, 0.1]", "{low: 0.1, hihg: 1}", "did you mean 'high'"),
        ("[0.01, 1e-3, 0.1]", "{low: 0.1}", "high is missing"),
        ("[0.01, 1e-3, 0.1]", "{low: 0.1, high: 1}", "a grid needs a list"),
        ("[0.01, 1e-3, 0.1]", "{low: 0.1, high: one}", "expected a number for high, got one"),
        ("[0.01, 1e-3, 0.1]", "{low: 0.01, high: 0.1, step: 1e-12}", "grid has 180,000,000,002 "),
        ("[0.01, 1e-3, 0.1]", "{low: 0, high: 1, step: 1e-29}", "search: init_lr: "),
        ("momentum: [0.9, 0.5]", "seed: {low: 0, high: 1e9, int: true}", "at most 10,000; give"),
        ("init_lr: [0.01, 1e-3, 0.1]", "optimizer: [Adm]", "did you mean 'Adam'"),
        ("init_lr: [0.01, 1e-3, 0.1]", "warmup_epochs: [0, 1]", "planned --lr_policy"),
        ("momentum: [0.9, 0.5]", "nepochs: {low: 1, high: 3, step: 1}", "--nepochs: expected"),
    ],
)
def test_refusals_come_before_anything_runs(tmp_path, monkeypatch, capsys, was, now, said):
    monkeypatch.chdir(tmp_path)
    assert was in GRID
    (tmp_path / "plan.yaml").write_text(GRID.replace(was, now))
    assert main(["sweep", "--config", "plan.yaml"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    assert said in line
    assert [path.name for path in tmp_path.iterdir()] == ["plan.yaml"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--nepoch 3", "did you mean '--nepochs'"),
        ("--momentum 0.1", "--momentum is searched"),
        ("--checkpoints_dir x", "its folder is --sweep_dir"),
        ("--workers 0", "--workers: expected a whole number"),
    ],
)
def test_flags_are_checked_too(tmp_path, capsys, flags, said):
    plan(tmp_path)
    assert main(["sweep", "--config", str(tmp_path / "plan.yaml"), *flags.split()]) == 2
    assert said in capsys.readouterr().err


def test_missing_data_are_said_once_before_any_trial(tmp_path, capsys):
    plan(tmp_path)
    words = ["--sweep_dir", str(tmp_path / "sweep"), "--data_dir", str(tmp_path / "nowhere")]
    assert main(["sweep", "--config", str(tmp_path / "plan.yaml"), *words]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()


def test_own_pictures_are_read_before_any_trial_as_in_training(tmp_path, monkeypatch):
    write_faces(tmp_path / "data", {"a": 10, "b": 10})
    (tmp_path / "plan.yaml").write_text(
        "base: {model_name: FastFER, dataset_name: Folder}\nsearch: {init_lr: [0.01]}\n"
    )
    begun = []
    monkeypatch.setattr(sweep_module, "sweep", lambda *given: begun.append(given))
    words = ["--config", str(tmp_path / "plan.yaml"), "--data_dir", str(tmp_path / "data")]
    assert main(["sweep", *words]) == 0
    assert len(begun) == 1


@pytest.mark.parametrize(("name", "trials"), [("usef_kh_grid", 18), ("compact_fer_tpe", 40)])
def test_the_recipes_read(name, trials):
    assert read_plan(REPOSITORY / "recipes" / "sweeps" / f"{name}.yaml").trials == trials


def test_a_trial_is_a_real_run(tmp_path, sample_data):
    (tmp_path / "real.yaml").write_text(
        "base: {model_name: CompactFER, weights: none, limit_train: 32, nepochs: 9}\n"
        "search: {optimizer: [SGD], lr_policy: [cosine]}\n"
    )
    folder = tmp_path / "sweep"
    line = f"sweep --config {tmp_path / 'real.yaml'} --sweep_dir {folder} --data_dir {sample_data}"
    assert main([*line.split(), "--nepochs", "1", "--loggers", "none"]) == 0
    (row,) = table(folder)
    assert (row["state"], row["best_epoch"], row["lr_policy"]) == ("complete", "1", "cosine")
    run_dir = folder / "trials" / "0"
    assert (run_dir / "model_max_acc.keras").is_file()
    assert "epoch 1/1" in (run_dir / "train.log").read_text()
