"""Every recipe is read, trained for two steps and found in docs/recipes.md."""

import csv
import dataclasses
import json
import math
import re
import shutil

import pytest

from ferplus_keras.config import TrainConfig, read_config
from ferplus_keras.data.dataset import DATASETS
from ferplus_keras.models.registry import MODELS, build_model
from ferplus_keras.training.schedules import plan_stages, planned_rates
from tests.conftest import REPOSITORY

RECIPES = {path.stem: path for path in sorted((REPOSITORY / "recipes").glob("*.yaml"))}
OWN = (
    "demo",
    "compact_fer",
    "compact_fer_restart",
    "dlib_resnet",
    "dlib_resnet_short",
    "fast_fer",
)
"""Recipes that repeat nothing published."""


def read(name: str) -> TrainConfig:
    return read_config(TrainConfig, ["--config", str(RECIPES[name])], "train.py")


def header(name: str) -> str:
    lines = RECIPES[name].read_text(encoding="utf-8").splitlines()
    return "\n".join(line[2:] for line in lines if line.startswith("#"))


def shrunk(config: TrainConfig, sample_data, folder) -> TrainConfig:
    """Return the recipe, its last stage, with two steps on small pictures from random weights."""
    spec = MODELS[config.model_name]
    start = {"weights": "none"}
    if config.checkpoint_path:
        classes = len(DATASETS[config.dataset_name].class_names)
        start = {"checkpoint_path": str(folder / "start.keras")}
        build_model(
            config.model_name, classes, weights="none", image_size=spec.min_image_size
        ).save(start["checkpoint_path"])
    return dataclasses.replace(
        config,
        **start,
        data_dir=str(sample_data),
        checkpoints_dir=str(folder),
        image_size=spec.min_image_size,
        stages=config.stages and (re.sub(r"^\d+", "1", config.stages[-1]),),
        nepochs=1,
        warmup_epochs=min(config.warmup_epochs, 0.5),
        batch_size=20,
        limit_train=40,
        workers=1,
        teacher=None,  # tests/training/test_distillation.py
        teacher_weight=None,
        loggers=("none",),
        num_gpus=0,
    )


@pytest.fixture
def runs(tmp_path):
    """Folder of runs, emptied in the end: checkpoints of all these networks are gigabytes."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture
def quick(monkeypatch):
    """Leave out what costs most and others test: TensorFlow's graph, curves, best epochs."""
    import keras

    from ferplus_keras.training import callbacks

    monkeypatch.setattr(callbacks, "draw_curves", lambda rows, path: None)
    monkeypatch.setattr(callbacks, "save_checkpoint", lambda model, path, info: None)
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow

    tensorflow.config.run_functions_eagerly(True)
    yield
    tensorflow.config.run_functions_eagerly(False)


def test_recipes_are_all_seen_here():
    assert len(RECIPES) == 23


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_trains(name, sample_data, runs, quick):
    from ferplus_keras.models.checkpoint import read_info
    from ferplus_keras.training.train import train

    config = read(name)
    folder = train(shrunk(config, sample_data, runs))
    with (folder / "training.csv").open() as file:
        (epoch,) = csv.DictReader(file)
    assert math.isfinite(float(epoch["loss"]))
    assert math.isfinite(float(epoch["val_loss"]))
    info = read_info(folder / "final_model.keras")
    assert (info.model_name, info.dataset_name) == (config.model_name, config.dataset_name)


@pytest.mark.parametrize("name", RECIPES)
def test_header_says_how_and_whence(name):
    assert read(name).name == name
    assert f"  python train.py --config recipes/{name}.yaml" in header(name).splitlines()
    assert re.search(r"^Source: \S", header(name), re.M)
    for label in () if name in OWN else ("Published", "Repaired"):
        assert re.search(rf"^{label}: \S", header(name), re.M), label


def test_measured_figures_are_those_of_the_results():
    measured = re.compile(r"^Measured[^:]*: (\d\d\.\d) % on validation, (\d\d\.\d) % on test", re.M)
    found = {name: match.groups() for name in RECIPES if (match := measured.search(header(name)))}
    assert len(found) >= 9
    for name, said in found.items():
        reached = []
        for path in (REPOSITORY / "results").glob(f"{name}*.json"):
            if re.fullmatch(rf"{name}(_seed\d+|_\d+_epochs)?", path.stem):
                splits = json.loads(path.read_text(encoding="utf-8"))["evaluation"]["splits"]
                reached.append([100 * splits[of]["accuracy"] for of in ("validation", "test")])
        reached.append([sum(seeds) / len(seeds) for seeds in zip(*reached, strict=True)])
        assert said in [tuple(f"{figure:.1f}" for figure in pair) for pair in reached], name


RATES = {
    "albanie_senet50_ferplus": {1: 1e-3, 60: 1e-3, 61: 1e-4, 120: 1e-4, 121: 1e-5, 180: 1e-5},
    "barsoum_vgg13_majority": {1: 5e-3, 20: 5e-3, 21: 2.5e-3, 40: 2.5e-3, 41: 5e-4, 100: 5e-4},
    "shangeth_cnn": {1: 1e-3, 100: 1e-3, 101: 1e-4, 120: 1e-4, 121: 1e-5, 140: 1e-5},
}
"""Recipe -> epoch, from 1, -> the learning rate that its source states for it."""


@pytest.mark.parametrize("name", RATES)
def test_learning_rates_are_the_source_s(name):
    rates = [rate for stage in plan_stages(read(name)) for rate in planned_rates(stage, 1)]
    assert len(rates) == max(RATES[name])
    assert {epoch: rates[epoch - 1] for epoch in RATES[name]} == pytest.approx(RATES[name])


def test_table_of_the_documentation_is_the_folder():
    text = (REPOSITORY / "docs" / "recipes.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| [`")
    ]
    table = {re.findall(r"`(\w+)`", row[0])[0]: row for row in rows}
    assert len(table) == len(rows)
    assert table.keys() == RECIPES.keys()
    for name, row in table.items():
        config = read(name)
        assert f"../recipes/{name}.yaml" in row[0]
        assert row[1] == config.model_name
        assert row[2] == config.dataset_name
        rules = DATASETS[config.dataset_name].rules
        assert row[3] == (config.label_rule if len(rules) > 1 else "–"), name
        for figure in re.findall(r"\d\d\.\d+", row[4]):
            assert figure in header(name), (name, figure)
