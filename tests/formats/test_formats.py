import importlib.util
import os
import shutil
import subprocess
import sys
import tracemalloc
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from ferplus_keras import extras
from ferplus_keras.classifier import Classifier
from ferplus_keras.errors import InputError
from ferplus_keras.files import sha256
from ferplus_keras.formats import FORMATS, KEY, Format, Opened, digest
from ferplus_keras.models.checkpoint import MEMBER
from ferplus_keras.models.info import info_to_json
from tests.conftest import REPOSITORY
from tests.exports import INFO, drawn

SUFFIXES = sorted(s for form in FORMATS.values() for s in form.suffixes if s)

RUNTIME_OF = {
    "onnx": "onnxruntime",
    "litert": "ai_edge_litert",
    "openvino": "openvino",
    "saved_model": "tensorflow",
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"this is no model, whatever its name says"])
def test_a_file_of_another_kind(suffix, content, tmp_path):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        Classifier.open(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_damaged_saved_model(tmp_path):
    with pytest.raises(InputError, match="no checkpoint at"):
        Classifier.open(tmp_path)


def test_a_run_folder_means_its_best_model(tiny_checkpoint):
    pytest.importorskip("keras")
    expected = Classifier.open(tiny_checkpoint).info
    assert Classifier.open(tiny_checkpoint.parent).info == expected


def test_a_missing_file_and_an_unknown_ending(tmp_path):
    with pytest.raises(InputError, match="no checkpoint at"):
        Classifier.open(tmp_path / "none.onnx")
    (tmp_path / "MODEL.TFLITE").write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot read .*MODEL\.TFLITE as LiteRT"):
        Classifier.open(tmp_path / "MODEL.TFLITE")
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(InputError, match=r"expected .*\.keras.*\.onnx"):
        Classifier.open(tmp_path / "model.pt")


def without_class_names(kind, done, folder):
    """Return a copy of an export that does not say which classes it has."""
    shutil.copytree(done.path.parent, folder, dirs_exist_ok=True)
    path = folder / done.path.name
    if kind == "saved_model":
        (path / MEMBER).unlink()
    elif kind == "onnx":
        import onnx

        model = onnx.load(path)
        del model.metadata_props[:]
        onnx.save(model, path)
    elif kind == "openvino":
        path.write_text(path.read_text().replace("ferplus_keras", "another_key"))
    else:
        content = path.read_bytes()
        path.write_bytes(content[: content.rindex(b"PK\x03\x04")])
    return path


@pytest.mark.parametrize("kind", RUNTIME_OF)
def test_an_export_without_class_names(kind, exported, tmp_path):
    path = without_class_names(kind, exported(kind), tmp_path)
    with pytest.raises(InputError, match="does not say which classes") as refused:
        Classifier.open(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"class_names": ("a", "b")}, r"names 2 classes, but returns \(2, 8\) for two faces"),
        ({"face_size": 60}, "invalid dimensions"),
        ({"colour": True}, "Invalid rank"),
    ],
)
def test_an_export_of_another_network_than_its_file_says(change, said, exported, tmp_path):
    import onnx

    model = onnx.load(exported("onnx").path)
    onnx.helper.set_model_props(model, {KEY: info_to_json(replace(INFO, **change))})
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    with pytest.raises(InputError, match=said) as refused:
        Classifier.open(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_export_for_one_face_at_a_time(exported, tmp_path):
    import onnx

    model = onnx.load(exported("onnx").path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, tmp_path / "one.onnx")
    with pytest.raises(InputError, match=r"cannot read .*one\.onnx as ONNX: .*Got: 2 Expected: 1"):
        Classifier.open(tmp_path / "one.onnx")


def test_a_bomb_behind_a_litert_model_is_not_unpacked(exported, tmp_path):
    path = without_class_names("litert", exported("litert"), tmp_path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MEMBER, bytes(100_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="would unpack its"):
            Classifier.open(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", RUNTIME_OF)
def test_a_missing_runtime(kind, exported, monkeypatch):
    path = exported(kind).path
    missing = RUNTIME_OF[kind]
    monkeypatch.setattr(
        extras,
        "find_spec",
        lambda name: None if name == missing else importlib.util.find_spec(name),
    )
    with pytest.raises(InputError, match=rf"needs {missing}, .* pip install 'ferplus-keras\["):
        Classifier.open(path)


@pytest.mark.parametrize(
    ("kind", "changed"),
    [("onnx", ""), ("openvino", "*.bin"), ("saved_model", "*/variables/variables.index")],
)
def test_a_digest_is_of_every_file_of_a_network(kind, changed, exported, tmp_path):
    path = exported(kind).path
    if not changed:
        assert digest(path) == sha256(path)  # as sha256sum prints it
        return
    shutil.copytree(path.parent, tmp_path, dirs_exist_ok=True)
    copied = tmp_path / path.name
    assert digest(copied) == digest(path)
    (part,) = tmp_path.glob(changed)
    part.write_bytes(part.read_bytes() + b" ")
    assert digest(copied) != digest(path)


def test_a_new_format_is_one_class(tmp_path, monkeypatch):
    class Means(Format):
        title = "means"
        suffixes = (".means",)

        @staticmethod
        def open(path):
            middle = float(path.read_text())
            return Opened(INFO, lambda faces: np.tile(middle, (len(faces), len(INFO.class_names))))

    monkeypatch.setitem(FORMATS, "means", Means)
    path = tmp_path / "model.means"
    path.write_text("0.125")
    assert (Classifier.open(path).probabilities(drawn(3)) == 0.125).all()
    path.write_text("much\nnoise")
    with pytest.raises(InputError, match=r"cannot read .*model\.means as means: could not convert"):
        Classifier.open(path)


REPORTS = """
import contextlib, os, sys
from pathlib import Path
from ferplus_keras.formats import FORMATS

with contextlib.suppress(Exception):
    FORMATS["openvino"].open(Path("nowhere.xml"))
assert sys.modules["openvino_telemetry"] is None
assert "openvino" in sys.modules
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
"""


def test_no_runtime_reports_its_use_to_its_maker():
    pytest.importorskip("openvino")
    own = {name: os.environ[name] for name in os.environ if "TELEMETRY" not in name}
    done = subprocess.run(
        [sys.executable, "-c", REPORTS], capture_output=True, text=True, cwd=REPOSITORY, env=own
    )
    assert done.returncode == 0, done.stderr
