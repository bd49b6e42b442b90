"""What docs/extending.md shows is written into a copy of the package, which is then used."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest

from ferplus_keras.data.dataset import load_split
from ferplus_keras.models.checkpoint import read_info
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n# (ferplus_keras/\S+\.py)\n(.*?)```", PAGE, re.S)
SMALL = "--nepochs 1 --limit_train 40 --batch_size 20 --loggers none --num_gpus 0"


@pytest.fixture
def checkout(sample_data, tmp_path):
    """Return a copy of the package and its scripts that holds every block of the page."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "ferplus_keras", tmp_path / "ferplus_keras", ignore=ignored)
    for script in ("train.py", "test.py"):
        shutil.copy(REPOSITORY / script, tmp_path)
    for path, code in BLOCKS:
        with (tmp_path / path).open("a", encoding="utf-8") as file:
            file.write(("\n\n" if file.tell() else "") + code)
    (tmp_path / "data").symlink_to(sample_data)
    parts = {name: load_split(sample_data, name) for name in ("train", "validation", "test")}
    (tmp_path / "smiles").mkdir()
    np.savez(
        tmp_path / "smiles" / "faces.npz",
        images=np.concatenate([part.images for part in parts.values()]),
        smiles=np.concatenate([part.labels() == 1 for part in parts.values()]) * 1,
        splits=np.concatenate([[name] * len(part.images) for name, part in parts.items()]),
    )
    return tmp_path


def test_every_kind_is_shown_and_says_where_it_goes():
    assert len(BLOCKS) == PAGE.count("```python") == 7
    for path in re.findall(r"`(tests/\S+?)`", PAGE):
        assert (REPOSITORY / path).exists(), path


def test_what_the_page_adds_works_as_written(checkout):
    environment = {k: v for k, v in os.environ.items() if k != "FERPLUS_DATA_DIR"}
    environment["PYTHONPATH"] = str(checkout)
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
    for line in commands.splitlines():
        more = SMALL if "train.py" in line else "--rows 20" if " export " in line else ""
        done = subprocess.run(
            [sys.executable, *shlex.split(f"{line} {more}")[1:]],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    votes, smiles = (checkout / "checkpoints" / name for name in ("votes", "smiles"))
    info = read_info(votes / "final_model.keras")
    assert (info.model_name, info.label_rule, info.evaluation_rule) == (
        "TwoLayers",
        "unanimous",
        "majority",
    )
    assert read_info(smiles / "final_model.keras").class_names == ("no smile", "smile")
    assert (votes / "report.json").is_file()
    maps = np.load(votes / "explanations.npz")
    assert any("contrast" in name for name in [*maps.files, *maps.get("methods", [])])
