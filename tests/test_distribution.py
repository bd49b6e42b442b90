"""What is built for others: its contents, and its use far from the repository."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import ferplus_keras
from ferplus_keras.data.sample_faces import write_sample_data
from tests.conftest import REPOSITORY

pytest.importorskip("build.__main__")  # a folder build/ is a module, too

WANTED = (
    "recipes/compact_fer.yaml",
    "recipes/sweeps/compact_fer_tpe.yaml",
    "layer_lists/ResNet50.txt",
    "inference/dlib_resnet.onnx",
    "inference/fast_fer.onnx",
    "models/trained/compact_fer.keras",
    "models/trained/dlib_resnet.keras",
    "serve/page/index.html",
    "templates/report.html",
    "py.typed",
)
BUILT = (".git", ".venv*", "build", "dist", "__pycache__", "*.egg-info", "checkpoints", "data")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Return a folder with the source distribution, and the wheel that was made from it."""
    folder = tmp_path_factory.mktemp("built")
    top = {name for pattern in BUILT for name in REPOSITORY.glob(pattern)}

    def ignored(where: str, names: list[str]) -> list[str]:
        return [n for n in names if n == "__pycache__" or REPOSITORY / where / n in top]

    shutil.copytree(REPOSITORY, folder / "source", ignore=ignored)
    words = [sys.executable, "-m", "build", "--outdir", folder / "dist"]
    done = subprocess.run([*words, folder / "source"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "dist"


def run(python: str | Path, *words: object, home: Path, **more: str) -> str:
    """Run the package in an empty folder, with next to no environment; return what it prints."""
    home.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), **more}
    command = [str(python), "-m", "ferplus_keras", *map(str, words)]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_both_distributions_hold_what_is_needed(built):
    pytest.importorskip("twine")
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"ferplus_keras/{name}" for name in WANTED} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    (scripts,) = (name for name in names if name.endswith("/entry_points.txt"))
    assert b"ferplus-keras = ferplus_keras.cli:main" in zipfile.ZipFile(wheel).read(scripts)
    assert {name.split("/")[0] for name in names if not name.startswith("ferplus_keras-")} == {
        "ferplus_keras"
    }
    with tarfile.open(source) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = ("LICENSE", "README.md", "SECURITY.md", "constraints.txt", "docs/proper_use.md")
    assert {*wanted, "recipes/compact_fer.yaml", "layer_lists/ResNet50.txt"} <= held
    check = [sys.executable, "-m", "twine", "check", "--strict", wheel, source]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_commands_and_recipes_work_by_name_outside_the_repository(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "package")
    write_sample_data(tmp_path / "faces", rows=400)
    home = tmp_path / "home"
    use = {"home": home, "PYTHONPATH": str(tmp_path / "package"), "MPLBACKEND": "Agg"}
    small = ["--data_dir", "../faces", "--limit_train", 64, "--nepochs", 1, "--num_gpus", 0]
    small += ["--checkpoints_dir", "runs", "--name", "one"]
    run(sys.executable, "train", "--config", "demo", *small, **use)
    run(sys.executable, "test", "--checkpoint_path", "runs/one", "--num_gpus", 0, **use)
    assert (home / "runs/one/report.html").is_file()
    found = run(
        sys.executable, "predict", "../faces/faces.png", "--faces", "whole", "--json", **use
    )
    assert json.loads(found)[0]["faces"]


@pytest.mark.skipif(
    not (os.environ.get("CI") or os.environ.get("FERPLUS_TEST_INSTALL")),
    reason="installs from PyPI; in CI, or with FERPLUS_TEST_INSTALL=1",
)
def test_a_first_prediction_in_an_empty_environment(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    write_sample_data(tmp_path / "faces", rows=400)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    install = [python, "-m", "pip", "install", "-q", "-c", REPOSITORY / "constraints.txt"]
    subprocess.run([*install, f"{wheel}[light]"], check=True)
    home = tmp_path / "home"
    found = run(python, "predict", "../faces/faces.png", "--faces", "mtcnn", "--json", home=home)
    assert json.loads(found)[0]["file"] == "../faces/faces.png"
    found = run(python, "predict", "../faces/faces.png", "--faces", "whole", "--json", home=home)
    assert sum(json.loads(found)[0]["faces"][0]["probabilities"].values()) == pytest.approx(1)
    script = subprocess.run([tmp_path / "venv/bin/ferplus-keras", "--version"], capture_output=True)
    assert script.stdout.decode() == f"ferplus_keras {ferplus_keras.__version__}\n"
    present = [python, "-c", "import keras"]
    assert subprocess.run(present, capture_output=True).returncode == 1
