"""Plans, and campaigns of stand-in programs; one of the real ones."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ferplus_keras import queue as queue_module
from ferplus_keras.errors import UsageError
from ferplus_keras.queue import Queue, lock_log, train_words
from ferplus_keras.run import Run
from tests.conftest import REPOSITORY
from tools import campaign as campaign_module
from tools.campaign import Campaign
from tools.plan import read_plan

RECIPES = REPOSITORY / "recipes"
PLANS = sorted((RECIPES / "campaigns").glob("*.yaml"))
FAKE = [sys.executable, str(Path(__file__).with_name("fake_programs.py"))]


def plan(tmp_path, text, **options):
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return read_plan(path, RECIPES, **options)


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
@pytest.mark.parametrize("pilot", [False, True])
def test_plans_of_the_repository_can_be_read(path, pilot):
    jobs = read_plan(path, RECIPES, pilot=pilot)
    trained = [job for job in jobs if job.recipe]
    assert len(trained) > 4
    for job in trained:
        if pilot:
            epochs = [stage.split(":")[0] for stage in job.settings.get("stages", ())]
            assert {*epochs} == {"1"} if epochs else job.settings["nepochs"] == 1
            assert job.settings["limit_train"] == 256


def test_a_pilot_of_a_training_in_stages_is_one_epoch_of_each(tmp_path):
    text = "runs: [{recipe: barsoum_vgg13_majority, seeds: [3, 4]}]"
    (job,) = plan(tmp_path, text, pilot=True)
    assert job.settings["stages"] == ["1:0:0.005", "1:0:0.0025", "1:0:0.0005"]
    assert job.settings["seed"] == 3


def test_runs_seeds_variants_and_ensembles(tmp_path):
    text = """
runs:
  - {recipe: compact_fer, seeds: [0, 3]}
  - {recipe: compact_fer, name: long, settings: {nepochs: 90}, test: {tta: flip}}
  - recipe: khaireddin_vgg
  - recipe: khaireddin_vgg_cosine
study: {name: short, recipe: compact_fer, seeds: [0, 1], settings: {nepochs: 8},
        variants: {mixup: {mixup: 0.2}, longer: {nepochs: 16}, again: }}
ensembles:
  - {name: pair, members: [compact_fer, long], test: {tta: flip}}
"""
    jobs = {job.name: job for job in plan(tmp_path, text)}
    assert list(jobs) == [
        "compact_fer", "compact_fer_seed3", "long", "khaireddin_vgg", "khaireddin_vgg_cosine",
        "short_base", "short_mixup", "short_longer", "short_again", "short_base_seed1",
        "short_mixup_seed1", "short_longer_seed1", "short_again_seed1", "pair",
    ]  # fmt: skip
    runs = Path("/out/checkpoints")
    settings = jobs["compact_fer_seed3"].train_settings(runs)
    words = " ".join(train_words(Run(runs / "compact_fer_seed3"), settings))
    assert "compact_fer.yaml --seed 3 --loggers none --name compact_fer_seed3 --check" in words
    assert words.endswith("--checkpoints_dir /out/checkpoints")
    assert jobs["khaireddin_vgg_cosine"].needs == {"khaireddin_vgg"}
    settings = jobs["khaireddin_vgg_cosine"].train_settings(runs)
    assert settings["checkpoint_path"] == "/out/checkpoints/khaireddin_vgg/model_max_acc.keras"
    assert jobs["short_longer"].settings == {"nepochs": 16}
    assert jobs["short_longer"].study == "short"
    assert jobs["short_again"].settings == {"nepochs": 8}
    assert jobs["short_mixup_seed1"].settings == {"nepochs": 8, "mixup": 0.2, "seed": 1}
    assert jobs["short_base"].test_words(runs)[-2:] == ["--splits", "validation"]
    assert jobs["pair"].needs == {"compact_fer", "long"}
    assert jobs["pair"].test_words(runs) == [
        "--checkpoint_path", "/out/checkpoints/compact_fer", "/out/checkpoints/long",
        "--tta", "flip",
    ]  # fmt: skip


def test_every_teacher_of_a_student_is_trained_before_and_found(tmp_path):
    text = """
runs:
  - {recipe: dlib_resnet, name: dlib_resnet_112}
  - {recipe: dlib_resnet, name: dlib_resnet_112_all_layers}
  - recipe: fast_fer
"""
    student = plan(tmp_path, text)[-1]
    assert student.needs == {"dlib_resnet_112", "dlib_resnet_112_all_layers"}
    assert student.train_settings(Path("/out/checkpoints"))["teacher"] == [
        "/out/checkpoints/dlib_resnet_112",
        "/out/checkpoints/dlib_resnet_112_all_layers",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("runs: []", "expected runs: or study:"),
        ("rums: []", "unknown key in .*did you mean 'runs'"),
        ("runs: [{recipe: compact_fr}]", "unknown recipe .*did you mean 'compact_fer'"),
        ("", "expected 'key: value' lines with runs, study, ensembles"),
        ("runs: [compact_fer]", "expected 'key: value' lines with recipe, .* got compact_fer"),
        ("runs: [{name: x}]", "expected recipe:"),
        ("runs: [{recipe: compact_fer, settings: {nepoch: 3}}]", "--nepoch"),
        ("runs: [{recipe: compact_fer, settings: {nepochs: x}}]", "nepochs.*got 'x'"),
        ("runs: [{recipe: compact_fer, settings: {stages: ['9:0']}}]", "stages.*9:0"),
        ("runs: [{recipe: compact_fer, settings: {name: x}}]", "name of compact_fer is set by"),
        ("runs: [{recipe: compact_fer, test: {tta: nine}}]", "nine"),
        ("runs: [{recipe: compact_fer, seeds: 3}]", r"expected seeds: \[0, 1"),
        ("runs: [{recipe: compact_fer, seeds: [0, -1]}]", r"expected seeds: .* got \[0, -1\]"),
        ("runs: [{recipe: compact_fer}, {recipe: compact_fer}]", "two runs are called compact_fer"),
        ("runs: [{recipe: khaireddin_vgg_cosine}]", "needs the run khaireddin_vgg before it"),
        (
            "runs: [{recipe: compact_fer}]\nensembles: [{name: e, members: [compact]}]",
            "unknown member of e 'compact'",
        ),
        ("[1", "as YAML"),
    ],
)
def test_mistakes_in_a_plan_are_one_line(tmp_path, text, said):
    with pytest.raises(UsageError, match=said) as caught:
        plan(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Return a function that makes a campaign of the stand-ins."""
    monkeypatch.setattr(queue_module, "POLL_SECONDS", 0.02)

    def keep(evaluation, results_dir, name, recipe):
        accuracy = json.loads((evaluation / "report.json").read_text())["accuracy"]
        results_dir.mkdir(parents=True, exist_ok=True)
        result = {"evaluation": {"splits": {"validation": {"accuracy": accuracy}}}, "networks": []}
        (results_dir / f"{name}.json").write_text(json.dumps(result))

    monkeypatch.setattr(campaign_module, "write_result", keep)

    def make(text, **options):
        programs = ([*FAKE, "train"], [*FAKE, "test"])
        entries = plan(tmp_path, text)
        return Campaign(entries, tmp_path / "data", tmp_path / "out", programs=programs, **options)

    return make


def calls(campaign, name):
    folder = campaign.output_dir / "checkpoints" / name
    return [line.split()[0] for line in (folder / "calls.txt").read_text().splitlines()]


SEEDS = """
runs: [{recipe: compact_fer, seeds: [0, 1, 2]}]
study: {name: short, recipe: compact_fer, variants: {mixup: {mixup: 0.2}}}
ensembles: [{name: trio, members: [compact_fer, compact_fer_seed1, compact_fer_seed2]}]
"""


def test_every_job_is_trained_evaluated_and_kept_once(begin, capsys):
    campaign = begin(SEEDS)
    assert campaign.run(Queue(parallel=2))
    out = campaign.output_dir
    assert calls(campaign, "compact_fer") == ["train", "test"]
    assert calls(campaign, "trio") == ["test"]
    assert (out / "results" / "short" / "short_mixup.json").is_file()
    assert {path.stem for path in (out / "results").glob("*.json")} == {
        "compact_fer", "compact_fer_seed1", "compact_fer_seed2", "trio"
    }  # fmt: skip
    assert (out / "weights" / "compact_fer.keras").read_bytes() == b"weights"
    assert "(6 of 6): validation 0.8000" in capsys.readouterr().out
    assert campaign.table().count("0.8000") == 6
    shared = json.loads((out / "checkpoints" / "compact_fer" / "environment.json").read_text())
    assert shared == {
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.450",
    }
    if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1:
        used = [
            tuple(json.loads((out / "checkpoints" / name / "cores.json").read_text()))
            for name in ("compact_fer", "compact_fer_seed1")
        ]
        assert not set(used[0]) & set(used[1])
    assert begin(SEEDS).run(Queue())  # nothing is left to do
    assert calls(campaign, "compact_fer") == ["train", "test"]


def test_large_weights_stay_where_they_are(begin):
    campaign = begin("runs: [{recipe: compact_fer}]", largest_weights=3)
    assert campaign.run(Queue())
    assert not list((campaign.output_dir / "weights").iterdir())


def test_a_failed_run_is_named_and_the_others_go_on(begin, capsys):
    text = """
runs:
  - {recipe: compact_fer, name: wild, settings: {init_lr: 0.4}}
  - {recipe: compact_fer}
ensembles: [{name: pair, members: [wild, compact_fer]}]
"""
    campaign = begin(text)
    assert not campaign.run(Queue())
    said = capsys.readouterr()
    assert "wild failed: the loss is not a number after epoch 1" in said.err
    assert "pair failed: wild, which it needs, failed" in said.err
    assert "left" not in said.out
    assert campaign.result(campaign.entries["compact_fer"]).is_file()


def test_at_the_time_limit_trainings_stop_and_later_go_on(begin, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(queue_module, "GRACE_SECONDS", 0.5)
    hold = tmp_path / "hold"
    hold.touch()
    monkeypatch.setenv("HOLD", str(hold))
    text = "runs: [{recipe: compact_fer, seeds: [0, 1]}]"
    campaign = begin(text)
    started = time.monotonic()
    assert campaign.run(Queue(time_limit=2))
    assert time.monotonic() - started < 30
    said = capsys.readouterr().out
    assert "compact_fer stopped" in said
    assert "2 left (compact_fer, compact_fer_seed1): the same command resumes" in said
    assert not (campaign.output_dir / "checkpoints" / "compact_fer_seed1").exists()  # no time
    hold.unlink()
    assert begin(text).run(Queue())
    assert "compact_fer resumes" in capsys.readouterr().out
    assert calls(campaign, "compact_fer") == ["train", "train", "test"]
    folder = campaign.output_dir / "checkpoints" / "compact_fer"
    last = (folder / "calls.txt").read_text().splitlines()[1]
    assert "--resume" in last
    assert "--nepochs" not in last


def test_a_failed_evaluation_is_named_and_a_stopped_one_is_left(begin, monkeypatch, capsys):
    monkeypatch.setattr(queue_module, "GRACE_SECONDS", 0.5)
    text = "runs: [{recipe: compact_fer}]"
    campaign = begin(text)
    campaign.test = ["sh", "-c", "echo error: no rows; exit 1"]
    assert not campaign.run(Queue())
    assert "compact_fer failed: no rows" in capsys.readouterr().err
    campaign = begin(text)
    campaign.test = ["sh", "-c", "exec sleep 60"]
    started = time.monotonic()
    assert campaign.run(Queue(time_limit=1))
    assert time.monotonic() - started > 1  # unlike a training, it has until the limit
    said = capsys.readouterr()
    assert "compact_fer stopped\n1 left (compact_fer): the same command resumes" in said.out
    assert said.err == ""
    assert begin(text).run(Queue())
    assert calls(campaign, "compact_fer") == ["train", "test"]


def test_what_another_campaign_runs_is_left_to_it(begin, capsys):
    campaign = begin("runs: [{recipe: compact_fer, seeds: [0, 1]}]")
    log = lock_log(campaign.log(campaign.entries["compact_fer"]))
    assert campaign.run(Queue())
    os.close(log)
    assert "1 left (compact_fer): the same command resumes" in capsys.readouterr().out
    assert not (campaign.output_dir / "checkpoints" / "compact_fer").exists()
    assert calls(campaign, "compact_fer_seed1") == ["train", "test"]


def test_ctrl_c_stops_the_trainings(begin, tmp_path, monkeypatch, capsys):
    hold = tmp_path / "hold"
    hold.touch()
    monkeypatch.setenv("HOLD", str(hold))
    campaign = begin("runs: [{recipe: compact_fer, seeds: [0, 1]}]")
    queue = Queue(parallel=2)
    begun = campaign.output_dir / "checkpoints" / "compact_fer_seed1" / "resume_state.npz"

    sleep, interrupts = time.sleep, [KeyboardInterrupt()]

    def interrupt(seconds):
        if begun.exists() and interrupts:
            raise interrupts.pop()
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        campaign.run(queue)
    assert not queue.running
    assert capsys.readouterr().out.count(" stopped") == 2
    assert not list((campaign.output_dir / "results").iterdir())


def test_a_pilot_of_the_real_programs(sample_data, tmp_path):
    """CompactFER for an epoch, and its views as an ensemble of one."""
    path = tmp_path / "plan.yaml"
    path.write_text(
        "runs: [{recipe: compact_fer}]\n"
        "ensembles: [{name: compact_fer_flip, members: [compact_fer], test: {tta: flip}}]\n"
    )
    out = tmp_path / "out"
    words = [sys.executable, "tools/campaign.py", str(path), "--data_dir", str(sample_data)]
    done = subprocess.run(
        [*words, "--output_dir", str(out), "--time_limit", "300", "--pilot"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("compact_fer_flip") >= 3
    single, flipped = (
        json.loads((out / "results" / f"{name}.json").read_text())
        for name in ("compact_fer", "compact_fer_flip")
    )
    assert single["networks"] == flipped["networks"]
    assert single["networks"][0]["changed"] == {
        "limit_train": 256, "nepochs": 1, "warmup_epochs": 0.0
    }  # fmt: skip
    assert flipped["evaluation"]["tta"] == "flip"
    assert (out / "weights" / "compact_fer.keras").stat().st_size > 1_000_000
