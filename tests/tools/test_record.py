"""A trained and evaluated run as one JSON file."""

import dataclasses
import json
import shutil

import pytest
import yaml

from ferplus_keras.arguments import to_plain
from ferplus_keras.config import EvaluateConfig, TrainConfig, read_config
from ferplus_keras.errors import InputError
from ferplus_keras.evaluation.evaluate import evaluate
from ferplus_keras.models.checkpoint import load_checkpoint
from ferplus_keras.training.train import train
from tools.record import changed_settings, write_result
from tools.results import main


@pytest.fixture
def recipe(tiny_network, tmp_path):
    path = tmp_path / "recipes" / "tiny.yaml"
    path.parent.mkdir()
    settings = {"model_name": tiny_network, "weights": "none", "nepochs": 2}
    settings |= {"batch_size": 32, "limit_train": 64, "early_stopping": 0, "image_size": 48}
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture
def run(recipe, sample_data, tmp_path):
    """A run of the recipe with other settings, evaluated."""
    config = read_config(TrainConfig, ["--config", str(recipe)], "train.py")
    places = {"data_dir": str(sample_data), "checkpoints_dir": str(tmp_path), "loggers": ("none",)}
    changed = {"mixup": 0.2, "class_weights": ("none",), "seed": 3, "name": "mixed"}
    folder = train(dataclasses.replace(config, **places, **changed, num_gpus=0))
    evaluate(EvaluateConfig(name="mixed", checkpoints_dir=str(tmp_path), tta="flip", num_gpus=0))
    return folder


def test_a_result_says_what_ran_where_and_what_came_out(run, recipe, tmp_path, monkeypatch):
    path = write_result(run, tmp_path / "results", recipe=recipe)
    assert path == tmp_path / "results" / "mixed.json"
    result = json.loads(path.read_text())
    report = json.loads((run / "report.json").read_text())
    record = json.loads((run / "run.json").read_text())

    (network,) = result["networks"]
    assert network["changed"] == {"mixup": 0.2, "class_weights": ["none"]}
    assert (network["name"], network["recipe"], network["seed"]) == ("mixed", "tiny", 3)
    assert network["command"] == (
        "python train.py --config recipes/tiny.yaml --seed 3 --mixup 0.2 --class_weights none "
        "--name mixed"
    )
    for key in ("commit", "hardware", "versions", "backend", "data"):
        assert network[key] == record[key]
    assert network["seconds"] == pytest.approx(record["seconds"], abs=0.06)
    assert network["images_per_second"] == pytest.approx(record["images_per_second"], abs=0.06)
    model, _ = load_checkpoint(run / "model_max_acc.keras")
    assert network["parameters"] == model.count_params()
    assert network["checkpoint_sha256"] == report["checkpoint_sha256"]
    assert len(network["history"]["val_accuracy"]) == network["epochs"] == 2

    assert result["evaluation"]["tta"] == "flip"
    assert result["evaluation"]["command"] == (
        "python test.py --checkpoint_path checkpoints/mixed --tta flip"
    )
    for split in ("validation", "test"):
        kept, whole = result["evaluation"]["splits"][split], report["splits"][split]
        for key in ("n", "accuracy", "accuracy_interval", "macro_f1", "loss"):
            assert kept[key] == pytest.approx(whole[key], abs=1e-5)
        assert kept["leak_free"]["accuracy"] == pytest.approx(
            whole["leak_free"]["accuracy"], abs=1e-5
        )
        assert kept["label_rules"].keys() == whole["label_rules"].keys()

    # The kept commands, read as a user would type them, are the settings that ran.
    monkeypatch.chdir(tmp_path)
    again = read_config(TrainConfig, network["command"].split()[2:], "train.py")
    ran = yaml.safe_load((run / "config.yaml").read_text())
    assert (again.mixup, again.seed, again.name) == (ran["mixup"], ran["seed"], ran["name"])
    read_config(EvaluateConfig, result["evaluation"]["command"].split()[2:], "test.py")

    # What is kept of a network already is taken over, without a recipe, while it is the same file.
    network["recipe"] = "older"
    path.write_text(json.dumps(result))
    write_result(run, tmp_path / "results")
    assert json.loads(path.read_text())["networks"] == [network]
    path.write_text(json.dumps(result | {"networks": [network | {"checkpoint_sha256": "0" * 64}]}))
    with pytest.raises(InputError, match="use --recipe"):
        write_result(run, tmp_path / "results")

    # The seed 0 is not worth a word, nor are places on that machine.
    (run / "config.yaml").write_text(yaml.safe_dump(ran | {"seed": 0}))
    weights = {"path": "/home/me/vgg.h5", "sha256": "1" * 64}
    (run / "run.json").write_text(json.dumps(record | {"weights": weights, "seed": 0}))
    (network,) = json.loads(write_result(run, tmp_path, recipe=recipe).read_text())["networks"]
    assert "--seed" not in network["command"]
    assert network["weights"] == {"file": "vgg.h5", "sha256": "1" * 64}


def test_an_ensemble_has_all_its_networks_and_needs_a_name(run, recipe, tmp_path, capsys):
    both = [str(run / f"model_{which}.keras") for which in ("max_acc", "min_loss")]
    folder = tmp_path / "both"
    splits = ("validation",)
    evaluate(EvaluateConfig(checkpoint_path=tuple(both), output_dir=str(folder), splits=splits))
    with pytest.raises(InputError, match="2 networks: use --name"):
        write_result(folder, tmp_path / "results", recipe=recipe)
    results = tmp_path / "results"
    words = ["add", str(folder), "--name", "pair", "--recipe", str(recipe)]
    assert main([*words, "--results_dir", str(results)]) == 0
    assert str(results / "pair.json") in capsys.readouterr().out
    result = json.loads((results / "pair.json").read_text())
    assert [network["checkpoint"] for network in result["networks"]] == [
        "model_max_acc.keras",
        "model_min_loss.keras",
    ]
    assert result["evaluation"]["command"] == (
        "python test.py --checkpoint_path checkpoints/mixed "
        "checkpoints/mixed/model_min_loss.keras --splits validation --output_dir checkpoints/pair"
    )
    assert list(result["evaluation"]["splits"]) == ["validation"]


def test_a_run_that_was_copied_is_recorded_without_its_large_files(run, recipe, tmp_path):
    before = write_result(run, tmp_path / "results", recipe=recipe).read_bytes()
    copied = tmp_path / "elsewhere" / run.name
    shutil.copytree(run, copied, ignore=shutil.ignore_patterns("*.keras", "*.npz"))
    kept = run.rename(run.with_name("gone"))
    assert write_result(copied, tmp_path / "other", recipe=recipe).read_bytes() == before
    report = json.loads((copied / "report.json").read_text())
    (copied / "report.json").write_text(json.dumps(report | {"epoch": report["epoch"] + 1}))
    with pytest.raises(InputError, match="is not what was evaluated"):
        write_result(copied, tmp_path / "other", recipe=recipe)
    kept.rename(run)


def test_refusals_write_nothing(run, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="for the run mixed: use --recipe"):
        write_result(run, tmp_path / "results")
    with pytest.raises(InputError, match="expected the folder of an evaluation"):
        write_result(tmp_path, tmp_path / "results")
    checkpoint = run / "model_max_acc.keras"
    evaluated = checkpoint.read_bytes()
    checkpoint.write_bytes((run / "model_min_loss.keras").read_bytes() + b"more")
    with pytest.raises(InputError, match=r"model_max_acc\.keras is not what was evaluated"):
        write_result(run, tmp_path / "results", recipe=recipe)
    checkpoint.write_bytes(evaluated)
    record = json.loads((run / "run.json").read_text())
    del record["best"]
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="not trained to its end"):
        write_result(run, tmp_path / "results", recipe=recipe)
    assert not (tmp_path / "results").exists()


def test_edited_files_of_a_run_are_refused_in_one_line(run, recipe, tmp_path):
    def refusal(name, change):
        written = (run / name).read_text()
        read, write = (
            (json.loads, json.dumps) if name.endswith(".json") else (yaml.safe_load, yaml.safe_dump)
        )
        content = read(written)
        change(content)
        (run / name).write_text(write(content))
        with pytest.raises(InputError) as caught:
            write_result(run, tmp_path / "results", recipe=recipe)
        (run / name).write_text(written)
        (line,) = str(caught.value).splitlines()
        assert str(run) in line
        assert name in line

    refusal("report.json", lambda report: report["splits"].update(test=[]))
    refusal("report.json", lambda report: report.update(members=[3]))
    refusal("report.json", lambda report: report.pop("seconds"))
    refusal("run.json", lambda record: record.update(freeze_before=0))
    refusal("config.yaml", lambda settings: settings.pop("name"))
    assert write_result(run, tmp_path / "results", recipe=recipe).is_file()


def test_runs_that_a_run_starts_from_are_named_as_the_recipe_names_them(tiny_network, tmp_path):
    recipe = tmp_path / "next.yaml"
    recipe.write_text(f"model_name: {tiny_network}\ncheckpoint_path: checkpoints/first/a.keras\n")
    config = to_plain(read_config(TrainConfig, ["--config", str(recipe)], "train.py"))
    config |= {"checkpoints_dir": "/far/runs", "image_size": 48, "dropout_rate": 0.0}
    config |= {"face_size": 48, "colour": False}  # of the data
    config["checkpoint_path"] = "/far/runs/first/a.keras"
    own = changed_settings(config, recipe)
    assert not own.keys() & {"checkpoint_path", "face_size", "colour"}
    config["checkpoint_path"] = "/far/runs/other/a.keras"
    assert changed_settings(config, recipe) == {
        **own,
        "checkpoint_path": "checkpoints/other/a.keras",
    }


@pytest.mark.parametrize("weight", ["", "teacher_weight: 0.7\n"])
def test_a_run_without_its_recipes_teachers_says_so(tiny_network, tmp_path, weight):
    recipe = tmp_path / "taught.yaml"
    recipe.write_text(f"model_name: {tiny_network}\nteacher: [checkpoints/a]\n{weight}")
    line = ["--config", str(recipe), "--teacher", "none"]
    config = to_plain(read_config(TrainConfig, line, "train.py"))
    changed = changed_settings(config, recipe)
    assert changed["teacher"] == ["none"]
    assert "teacher_weight" not in changed
