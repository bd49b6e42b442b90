"""What docs/extending.md shows is added to the tables, trained through `train.py`, and removed."""

import __future__

import copy
import re
import shlex
import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest

from ferplus_keras.cli import train_command
from ferplus_keras.config import TrainConfig
from ferplus_keras.data.augment import PRESETS
from ferplus_keras.data.dataset import DATASETS, load_split
from ferplus_keras.data.votes import LABEL_RULES
from ferplus_keras.models.checkpoint import read_info
from ferplus_keras.models.registry import MODELS
from ferplus_keras.training.schedules import POLICIES
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n# (ferplus_keras/\S+)\.py\n(.*?)```", PAGE, re.S)
TABLES = (MODELS, LABEL_RULES, POLICIES, PRESETS, DATASETS)
SMALL = "--nepochs 1 --limit_train 40 --batch_size 20 --loggers none --num_gpus 0 --name"


@pytest.fixture
def tables():
    """Let rows be added to every table, and take them out afterwards."""
    before = [dict(table) for table in TABLES]
    yield
    for table, rows in zip(TABLES, before, strict=True):
        table.clear()
        table.update(rows)


@pytest.fixture
def extended(tables, monkeypatch):
    """Run every block as if it stood at the end of its file."""
    for path, code in BLOCKS:
        name = path.replace("/", ".")
        if find_spec(name) is None:
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        module = import_module(name)
        scope = dict(vars(module))
        exec(compile(code, path, "exec", __future__.annotations.compiler_flag), scope)
        for added in scope.keys() - vars(module).keys():
            monkeypatch.setattr(module, added, scope[added], raising=False)
    # The one list that is made of its table on import.
    field = copy.copy(TrainConfig.__dataclass_fields__["lr_policy"])
    field.metadata = {**field.metadata, "known": tuple(POLICIES)}
    monkeypatch.setitem(TrainConfig.__dataclass_fields__, "lr_policy", field)


def write_smiles(sample_data, folder):
    """Write faces.npz as the page's data set reads it."""
    folder.mkdir()
    parts = {name: load_split(sample_data, name) for name in ("train", "validation", "test")}
    np.savez(
        folder / "faces.npz",
        images=np.concatenate([part.images for part in parts.values()]),
        smiles=np.concatenate([part.targets.argmax(axis=1) == 1 for part in parts.values()]) * 1,
        splits=np.concatenate([[name] * len(part.images) for name, part in parts.items()]),
    )


def test_every_block_says_where_it_goes():
    assert len(BLOCKS) == PAGE.count("```python") == 6
    for path in re.findall(r"`(tests/\S+\.py)`", PAGE):
        assert (REPOSITORY / path).is_file(), path


def test_what_the_page_adds_trains(extended, sample_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_smiles(sample_data, tmp_path / "smiles")
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
    votes, smiles = (shlex.split(line)[2:] for line in commands.splitlines())

    assert train_command([*votes, "--data_dir", str(sample_data), *SMALL.split(), "votes"]) == 0
    info = read_info(tmp_path / "checkpoints/votes/final_model.keras")
    assert (info.model_name, info.label_rule, info.evaluation_rule) == (
        "TwoLayers",
        "unanimous",
        "majority",
    )

    assert train_command([*smiles, *SMALL.split(), "smiles"]) == 0
    info = read_info(tmp_path / "checkpoints/smiles/final_model.keras")
    assert info.class_names == ("no smile", "smile")
