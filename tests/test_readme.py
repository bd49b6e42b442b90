"""Everything that README.md shows is run here, on drawn data and in small."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from ferplus_keras.cli import main
from ferplus_keras.run import TRAINED
from tests.conftest import REPOSITORY, forget_networks

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")

SMALL = "--weights none --image_size 48 --limit_train 64 --batch_size 32"
SHRUNK = {
    "python predict.py photo.jpg --save_dir annotated": "",
    "python -m ferplus_keras labels --label_rule majority": "",
    "python -m ferplus_keras audit": "",
    "python train.py --model_name ResNet50 --freeze_before -51": f"{SMALL} --nepochs 1",
    "python train.py --model_name SeNet50 --freeze_before -39 --name senet50": (
        f"{SMALL} --nepochs 1"
    ),
    "python train.py --config recipes/dlib_resnet.yaml": (
        "--image_size 55 --limit_train 64 --nepochs 1 --warmup_epochs 0"
    ),
    "python train.py --config recipes/dlib_resnet_short.yaml": (
        "--image_size 55 --limit_train 64 --nepochs 1 --warmup_epochs 0"
    ),
    "python train.py --name senet50 --resume": "--nepochs 2",
    "python test.py --checkpoint_path checkpoints/experiment_1/model_max_acc.keras": "",
    "python test.py --checkpoint_path checkpoints/experiment_1 checkpoints/senet50 --tta flip "
    "--output_dir both": "",
    "python -m ferplus_keras compare checkpoints/experiment_1 both": "",
    "python -m ferplus_keras explain --checkpoint_path checkpoints/experiment_1 --rows 0 5": (
        "--method saliency grad_cam"
    ),
    "python -m ferplus_keras export --checkpoint_path checkpoints/experiment_1 --format onnx": (
        "--rows 20"
    ),
    "python -m ferplus_keras sweep --config recipes/sweeps/compact_fer_tpe.yaml --workers 2": (
        "--trials 2 --limit_train 64 --nepochs 1 --warmup_epochs 0"
    ),
}
"""Command of the README -> what is added so that two cores run it in seconds."""

NOT_RUN = ("make demo", "make test", "pip install")
"""`make demo` has a test of its own; the others are how this test came to run."""


def commands():
    blocks = re.findall(r"```sh\n(.*?)```", README, re.S)
    lines = [line.split("    #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith(NOT_RUN)]


@pytest.fixture(scope="module")
def home(tmp_path_factory, sample_data):
    """Return a folder that looks like a checkout with data/ in it."""
    folder = tmp_path_factory.mktemp("home")
    scripts = ("train.py", "test.py", "predict.py")
    for name in (*scripts, "recipes", "layer_lists", "Makefile", "setup.py"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "data").symlink_to(sample_data)
    pictures = pytest.importorskip("skimage.data")
    cv2.imwrite(str(folder / "photo.jpg"), pictures.astronaut()[..., ::-1])
    return folder


def run(line, home, monkeypatch):
    """Run a command as its script would, but in this process, which has loaded Keras already."""
    monkeypatch.chdir(home)
    monkeypatch.delenv("FERPLUS_DATA_DIR", raising=False)
    program, *words = shlex.split(line)[1:]
    forget_networks()
    return main(words[1:] if program == "-m" else [Path(program).stem, *words])


def test_every_command_of_the_readme_is_known_here():
    assert sorted(commands()) == sorted(SHRUNK)


def test_commands_of_the_readme_run_in_order(home, monkeypatch):
    for command in commands():
        assert run(f"{command} {SHRUNK[command]}", home, monkeypatch) == 0, command
    report = json.loads((home / "checkpoints/experiment_1/report.json").read_text())
    assert set(report["splits"]) == {"validation", "test"}
    written = ("logs", "predictions.csv", "confusion_matrix.png", "report.html", "explanations.png")
    for name in (*TRAINED, *written, "model_max_acc.onnx"):
        assert (home / "checkpoints/experiment_1" / name).exists(), name
    for name in ("audit/audit.html", "both/report.html", "comparison/compare.png"):
        assert (home / name).exists(), name
    assert (home / "sweeps/compact_fer_tpe/sweep.png").exists()
    assert (home / "annotated/photo.png").exists() or (home / "annotated/photo.jpg").exists()


def test_python_example_of_the_readme(home, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    monkeypatch.chdir(home)
    names = {}
    exec(code, names)
    assert names["probabilities"].shape == (8, 8)
    assert names["probabilities"].sum(axis=1) == pytest.approx([1] * 8, abs=1e-5)
    assert names["boundary"].name == "conv4_5_1x1_increase"
    assert names["face"].label in names["face"].probabilities


@pytest.mark.parametrize("script", ["train.py", "test.py", "predict.py"])
def test_scripts_are_the_commands_of_their_names(script):
    done = subprocess.run(
        [sys.executable, script, "--help"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: {script} ")


def test_make_demo_runs_what_it_says(tmp_path, monkeypatch, capsys):
    for name in ("train.py", "test.py", "recipes", "Makefile", "setup.py"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    listed = subprocess.run(
        ["make", "-n", "demo", "VENV=/none"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    steps = [line for line in listed.splitlines() if line.startswith("/none/bin/python ")]
    steps = [step for step in steps if " pip " not in step and " venv" not in step]
    assert len(steps) == 3, listed
    small = {"sample-data": "--rows 400", "train.py": "--nepochs 1 --limit_train 64", "test.py": ""}
    for step in steps:
        (kind,) = [kind for kind in small if kind in step]
        assert run(f"{step} {small[kind]}", tmp_path, monkeypatch) == 0, step
    said = capsys.readouterr().out
    for shown in ("validation", "test", "report.json", "confusion_matrix.png"):
        assert shown in said
    assert (tmp_path / "demo/checkpoints/demo/report.json").is_file()


def test_the_accuracies_of_the_readme_are_those_that_were_measured():
    rows = re.findall(r"^\|.*\| \**([\d.]+) %\** \| \**([\d.]+)\** \|$", README, re.MULTILINE)
    for row, name in zip(rows, ("bundled", "larger", "face_api", "fer"), strict=True):
        kept = json.loads((REPOSITORY / "results" / "peers" / f"{name}.json").read_text())
        scores = kept["splits"]["test"]["FERPlus7"]
        assert row == (f"{100 * scores['accuracy']:.1f}", f"{scores['macro_f1']:.3f}"), name


def test_links_and_pictures_of_the_readme_exist():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    local = [target for target in targets if "://" not in target]
    assert local
    for target in local:
        assert (REPOSITORY / target).exists(), target
