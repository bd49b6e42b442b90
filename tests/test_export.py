import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ferplus_keras import export as export_module
from ferplus_keras import extras
from ferplus_keras.classifier import Classifier
from ferplus_keras.cli import main
from ferplus_keras.data.augment import VIEWS
from ferplus_keras.data.dataset import load_split
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.export import CALIBRATION, EXPORTS, TOLERANCE, default_target, read_faces
from ferplus_keras.formats import FORMATS
from ferplus_keras.models.checkpoint import load_checkpoint, save_checkpoint
from ferplus_keras.models.registry import build_model
from ferplus_keras.run import CHECKPOINTS, Run
from tests.backends import environment
from tests.conftest import REPOSITORY
from tests.exports import INFO, drawn, write_checkpoint

WRITTEN = [(kind, precision) for kind, row in FORMATS.items() for precision in row.precisions]


def test_the_list_of_exports():
    assert len(WRITTEN) == 10


@pytest.mark.parametrize(("kind", "precision"), WRITTEN)
def test_an_export_answers_as_its_checkpoint(kind, precision, exported, tiny_checkpoint):
    done = exported(kind, precision)
    assert sorted(path.suffix for path in done.path.parent.iterdir()) == sorted(
        (FORMATS[kind].suffixes[0], *FORMATS[kind].beside)
    )
    classifier = Classifier.open(done.path)
    assert classifier.info == INFO
    model, _ = load_checkpoint(tiny_checkpoint)
    faces = drawn(70, seed=8)  # others than those it was checked on
    expected = model.predict(faces, verbose=0)
    assert np.ptp(expected.argmax(axis=1)) > 0
    found = np.concatenate([classifier.probabilities(part) for part in np.split(faces, [1, 8])])
    assert found.dtype == np.float32
    difference = np.abs(found - expected).max()
    if precision == "int8":
        assert np.mean(found.argmax(axis=1) == expected.argmax(axis=1)) > 0.8
        apart = np.diff(np.sort(found, axis=1)) > 0
        assert kind != "onnx" or apart.all()  # its logits are float32
    else:
        assert difference < TOLERANCE[precision]
    if precision != "float32":
        assert difference > 1e-5  # it was rounded
    assert done.difference == pytest.approx(difference, rel=20, abs=1e-5)


@pytest.mark.parametrize("kind", ["onnx", "litert", "openvino"])
def test_float16_rounds_the_weights_and_nothing_else(kind, exported, tiny_checkpoint):
    model, _ = load_checkpoint(tiny_checkpoint)
    for index in range(2):  # converters merge each normalisation into its convolution
        conv, norm = model.get_layer(f"conv{index}"), model.get_layer(f"bn{index}")
        (kernel, bias), (gamma, beta, mean, variance) = conv.get_weights(), norm.get_weights()
        scale = gamma / np.sqrt(variance + norm.epsilon)
        rounded = (kernel * scale).astype(np.float16).astype(np.float32)
        conv.set_weights([rounded, (bias - mean) * scale + beta])
        one, zero = np.ones_like(scale), np.zeros_like(scale)
        norm.set_weights([one, zero, zero, one - norm.epsilon])
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel.astype(np.float16), bias])
    faces = drawn(40, seed=9)
    found = Classifier.open(exported(kind, "float16").path).probabilities(faces)
    tolerance = 1e-5 if kind == "onnx" else 1e-3  # the others round biases too
    np.testing.assert_allclose(found, model.predict(faces, verbose=0), atol=tolerance)


def test_bfloat16_computes_in_half_precision_where_the_processor_can(exported):
    import openvino

    faces = drawn(200, seed=9)
    stored, computed = (
        Classifier.open(exported("openvino", precision).path).probabilities(faces)
        for precision in ("float16", "bfloat16")
    )
    fast = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert np.array_equal(stored, computed) != fast
    np.testing.assert_allclose(computed, stored, atol=0.05)
    assert np.mean(computed.argmax(axis=1) == stored.argmax(axis=1)) > 0.97


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_gelu_goes_to_onnx(precision, exported, tmp_path):
    exported("onnx")
    from keras import Input, Model, layers

    faces = Input((48, 48), dtype="uint8")
    x = layers.Dense(16, activation="gelu")(layers.Rescaling(1 / 255)(layers.Flatten()(faces)))
    model = Model(faces, layers.Dense(8, activation="softmax")(x))
    images = drawn(30)
    expected = model.predict(images, verbose=0)
    FORMATS["onnx"].write(model, INFO, tmp_path / "a.onnx", precision, images)
    found = Classifier.open(tmp_path / "a.onnx").probabilities(images)
    np.testing.assert_allclose(found, expected, atol=1e-5 if precision == "float32" else 0.05)


def run_folder(tiny_checkpoint, folder):
    shutil.copy(tiny_checkpoint, folder / tiny_checkpoint.name)
    return folder


def test_the_command_writes_beside_the_checkpoint_and_tells_the_accuracy(
    exported, tiny_checkpoint, sample_data, tmp_path, capfd
):
    exported("onnx")  # skips where exporting cannot run
    folder = run_folder(tiny_checkpoint, tmp_path)
    line = f"export --checkpoint_path {folder} --format onnx --data_dir {sample_data} --rows 30"
    assert main(line.split()) == 0
    said = capfd.readouterr()
    assert sorted(path.name for path in folder.iterdir()) == [
        "model_max_acc.keras",
        "model_max_acc.onnx",
    ]
    split = load_split(sample_data, "validation", "FERPlus", "majority")
    rows = np.linspace(0, len(split.images) - 1, 30).round().astype(int)
    answers = load_checkpoint(tiny_checkpoint)[0].predict(split.images[rows], verbose=0)
    accuracy = np.mean(answers.argmax(axis=1) == split.targets[rows].argmax(axis=1))
    assert f"accuracy {accuracy:.2%} -> {accuracy:.2%} (+0.00 points)" in said.out
    assert f"compared on 30 validation faces of {sample_data}" in said.out
    assert "100.00% of 30 faces" in said.out
    assert not re.sub(r"(checkpoint|onnx):.*?images/s\]|\s", "", said.err)  # but for the progress


def test_without_data_drawn_faces_are_compared(
    exported, tiny_checkpoint, tmp_path, capsys, monkeypatch
):
    exported("onnx")
    folder = run_folder(tiny_checkpoint, tmp_path)
    monkeypatch.setenv("FERPLUS_DATA_DIR", str(tmp_path / "none"))
    line = (
        f"export --checkpoint_path {folder} --format litert --rows 20 --output {tmp_path}/a.tflite"
    )
    assert main(line.split()) == 0
    said = capsys.readouterr()
    assert "compared on 20 drawn faces" in said.out
    assert "accuracy" not in said.out
    assert "no validation faces" in said.err
    assert (tmp_path / "a.tflite").is_file()


@pytest.mark.parametrize("given", [False, True])
def test_the_data_of_the_run_come_before_the_default(tiny_checkpoint, tmp_path, monkeypatch, given):
    folder, tried = run_folder(tiny_checkpoint, tmp_path), []

    def read(info, folders, rows, **reading):
        tried.extend(folders)
        raise RuntimeError("enough")

    monkeypatch.setattr(export_module, "read_faces", read)
    monkeypatch.setenv("FERPLUS_DATA_DIR", str(tmp_path / "usual"))
    (tmp_path / "of_the_run").mkdir()
    (folder / "config.yaml").write_text(f"data_dir: {tmp_path}/of_the_run\n")
    words = ["--data_dir", "here"] if given else []
    with pytest.raises(RuntimeError, match="enough"):
        main(["export", "--checkpoint_path", str(folder), "--format", "onnx", *words])
    usual = [str(tmp_path / "of_the_run"), str(tmp_path / "usual")]
    assert tried == (["here"] if given else usual)


def test_of_several_folders_that_cannot_be_used_the_first_is_named(tmp_path):
    with pytest.raises(InputError, match="folder_of_the_run"):
        read_faces(INFO, [str(tmp_path / "folder_of_the_run"), str(tmp_path / "default")], 10)


def test_the_accuracy_is_by_the_rule_that_a_checkpoint_is_evaluated_by(sample_data):
    rule = "ms_multi_target"
    _, images, labels, _ = read_faces(replace(INFO, evaluation_rule=rule), [sample_data], 10_000)
    answers = np.random.default_rng(0).dirichlet(np.ones(8), len(images))
    expected, others = (
        load_split(sample_data, "validation", "FERPlus", each) for each in (rule, "majority")
    )
    np.testing.assert_array_equal(labels(answers), expected.labels(answers))
    assert len(images) != len(others.images)


def test_int8_without_faces_to_measure_on_is_refused(tiny_checkpoint, tmp_path):
    with pytest.raises(UsageError, match="int8 needs faces to measure its ranges on"):
        export_module.export([tiny_checkpoint], tmp_path / "a.onnx", "onnx", "int8", drawn(5))


def test_calibration_has_no_face_that_the_export_is_judged_on(sample_data, tmp_path):
    shutil.copy(sample_data / "fer2013new.csv", tmp_path)
    lines = (sample_data / "fer2013.csv").read_text().splitlines()
    pixels = next(line for line in lines if line.endswith("PublicTest")).split(",")[1]
    for index in range(1, 200):  # most training rows
        emotion, _, usage = lines[index].split(",")
        lines[index] = f"{emotion},{pixels},{usage}"
    (tmp_path / "fer2013.csv").write_text("\n".join(lines) + "\n")
    _, images, _, calibration = read_faces(INFO, [str(tmp_path)], rows=1000)
    assert 0 < len(calibration) < CALIBRATION
    seen = {face.tobytes() for face in images}
    assert not any(face.tobytes() in seen for face in calibration)


def test_what_is_written_beside_a_checkpoint_is_removed_with_its_run(tmp_path):
    for kind, precision in WRITTEN:
        for checkpoint in CHECKPOINTS:
            target = default_target(tmp_path / checkpoint, kind, precision)
            if target.suffix:
                for path in (target, *map(target.with_suffix, FORMATS[kind].beside)):
                    path.touch()
            else:
                target.mkdir()
                (target / "saved_model.pb").touch()
    (tmp_path / "notes.txt").touch()
    Run(tmp_path).clear()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


WITHOUT_INFO = "{tmp}/plain.keras"
REFUSED = {
    "precision": ("--format openvino --quantize int8", "choose litert or onnx", 2),
    "precision of one format": ("--format onnx --quantize bfloat16", "; choose openvino\n", 2),
    "format": ("--format coreml", "coreml", 2),
    "no checkpoint": ("--format onnx --checkpoint_path {tmp}/none.keras", "no checkpoint at", 1),
    "another kind": ("--format onnx --checkpoint_path {tmp}/notes.txt", "not a .keras", 1),
    "no classes": (f"--format onnx --checkpoint_path {WITHOUT_INFO}", "ferplus_keras.json", 1),
    "ending": ("--format onnx --output {tmp}/model.tflite", "ending in .onnx", 2),
    "folder's ending": ("--format saved_model --output {tmp}/a.onnx", "a folder", 2),
    "a folder in the way": ("--format onnx --output {tmp}/folder.onnx", "folder.onnx", 1),
    "a file in the way": ("--format saved_model --output {tmp}/notes", "a folder", 1),
    "another folder": (
        "--format saved_model --output {tmp}/photos",
        "does not hold a SavedModel",
        1,
    ),
    "no data": ("--format onnx --data_dir {tmp}/none", "fer2013", 1),
    "no rows": ("--format onnx --rows 0", "--rows", 2),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(what, tiny_checkpoint, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no model")
    (tmp_path / "notes").write_text("no folder")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_text("precious")
    with zipfile.ZipFile(tmp_path / "plain.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    words, expected, code = REFUSED[what]
    if "--checkpoint_path" not in words:
        words += f" --checkpoint_path {run_folder(tiny_checkpoint, tmp_path)}"
    before = sorted(tmp_path.rglob("*"))
    assert main(["export", *words.format(tmp=tmp_path).split()]) == code
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1, said
    assert expected in said
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("kind", "module", "extra"),
    [
        ("onnx", "tensorflow", "tensorflow"),
        ("onnx", "tf2onnx", "export"),
        ("onnx", "onnxruntime", "export"),
        ("litert", "ai_edge_litert", "export"),
        ("openvino", "openvino", "export"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    kind, module, extra, tiny_checkpoint, monkeypatch, capsys
):
    monkeypatch.setattr(
        extras, "find_spec", lambda name: None if name == module else importlib.util.find_spec(name)
    )
    assert main(f"export --checkpoint_path {tiny_checkpoint} --format {kind}".split()) == 1
    said = capsys.readouterr().err
    assert f"needs {module}, " in said
    assert f"pip install 'ferplus-keras[{extra}]'" in said


def copy_of(done, folder):
    shutil.copytree(done.path.parent, folder, dirs_exist_ok=True)
    return folder / done.path.name


def without_converting(kind, done):
    """Return a format whose writer hands over what was written before."""

    def write(model, info, path, precision, faces):
        shutil.copytree(done.path.parent, path.parent, dirs_exist_ok=True)

    return type("Copied", (FORMATS[kind],), {"write": staticmethod(write)})


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_link_stays_one(exported, tiny_checkpoint, tmp_path, monkeypatch):
    real, link = tmp_path / "models" / exported("onnx").path.name, tmp_path / "current.onnx"
    real.parent.mkdir()
    real.write_bytes(b"older")
    link.symlink_to(real)
    monkeypatch.setitem(FORMATS, "onnx", without_converting("onnx", exported("onnx")))
    export_module.export([tiny_checkpoint], link, "onnx", "float32", drawn(20))
    assert link.is_symlink()
    assert Classifier.open(real).info == INFO


@pytest.mark.parametrize("kind", ["openvino", "saved_model"])
def test_an_older_export_is_replaced_whole_or_kept(
    kind, exported, tiny_checkpoint, tmp_path, monkeypatch
):
    target = copy_of(exported(kind), tmp_path)
    for path in contents(tmp_path):
        path.write_bytes(b"older" if path.suffix != ".json" else path.read_bytes())
    older = contents(tmp_path)
    faces = drawn(20)
    monkeypatch.setitem(FORMATS, kind, without_converting(kind, exported(kind)))
    with monkeypatch.context() as patch:
        patch.setitem(TOLERANCE, "float32", -1.0)
        with pytest.raises(InputError, match="nothing was written"):
            export_module.export([tiny_checkpoint], target, kind, "float32", faces)
    with monkeypatch.context() as patch:
        patch.setattr(export_module, "AGREEMENT", 1.01)
        with pytest.raises(InputError, match=r"keep their class .*; nothing was written"):
            export_module.export([tiny_checkpoint], target, kind, "float32", faces)
    assert contents(tmp_path) == older

    def stop_by(error, source, place, seen=os.replace):
        if Path(source).parent.name == "new" and Path(place).name == target.name:
            patch.setattr(export_module.os, "replace", seen)
            raise error
        seen(source, place)

    fresh = tmp_path / "fresh" / target.name
    full_disk = OSError(28, "No space left on device")
    for place in (target, fresh):
        for error, seen, said in (
            (full_disk, InputError, "No space left"),
            (KeyboardInterrupt(), KeyboardInterrupt, None),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(export_module.os, "replace", partial(stop_by, error))
                with pytest.raises(seen, match=said):
                    export_module.export([tiny_checkpoint], place, kind, "float32", faces)
    fresh.parent.rmdir()  # nothing was left behind in it
    assert contents(tmp_path) == older

    export_module.export([tiny_checkpoint], target, kind, "float32", faces)
    assert b"older" not in contents(tmp_path).values()
    assert Classifier.open(target).info == INFO
    assert {path.name for path in tmp_path.iterdir()} == {
        path.name for path in exported(kind).path.parent.iterdir()
    }


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_checkpoint_trained_in_mixed_precision_is_exported(
    policy, exported, tiny_network, tmp_path
):
    exported("onnx")
    import keras

    path = tmp_path / "model_max_acc.keras"
    keras.config.set_dtype_policy(policy)
    try:
        write_checkpoint(path)
    finally:
        keras.config.set_dtype_policy("float32")
    for kind in EXPORTS:
        target = default_target(path, kind, "float32")
        done = export_module.export([path], target, kind, "float32", drawn(20))
        assert done.difference < 1e-5


def test_a_checkpoint_that_takes_colour_is_compared_on_drawn_faces(
    exported, tiny_network, tmp_path, capsys, monkeypatch
):
    exported("onnx")
    path = tmp_path / "model.keras"
    model = build_model(tiny_network, 8, weights="none", image_size=48, face_size=60, colour=True)
    save_checkpoint(model, path, replace(INFO, face_size=60, colour=True))
    monkeypatch.setenv("FERPLUS_DATA_DIR", str(tmp_path / "none"))
    assert main(f"export --checkpoint_path {path} --format onnx --rows 20".split()) == 0
    assert "compared on 20 drawn faces" in capsys.readouterr().out
    classifier = Classifier.open(tmp_path / "model.onnx")
    assert (classifier.face_size, classifier.colour) == (60, True)
    faces = np.random.default_rng(2).integers(0, 256, (5, 60, 60, 3), dtype=np.uint8)
    expected = model.predict(faces, verbose=0)
    np.testing.assert_allclose(classifier.probabilities(faces), expected, atol=1e-4)


@pytest.mark.parametrize("kind", EXPORTS)
@pytest.mark.parametrize("shape", [(24, 24), (24, 24, 1), (24, 24, 3)])
def test_an_own_network_that_takes_floats_and_augments_is_exported(kind, shape, exported, tmp_path):
    exported("onnx")
    import keras

    given = keras.Input(shape)  # float32, as Keras makes them
    x = keras.layers.Rescaling(1 / 255)(given)
    x = keras.layers.RandomFlip("horizontal")(x) if shape[2:] else x
    x = keras.layers.Flatten()(x)
    model = keras.Model(given, keras.layers.Dense(2, activation="softmax")(x))
    path = tmp_path / "own.keras"
    classifier = Classifier.from_model(model, ("glad", "sad"))
    classifier.save(path)
    rng = np.random.default_rng(4)
    faces = rng.integers(0, 256, (9, *classifier.face_shape), dtype=np.uint8)
    target = default_target(path, kind, "float32")
    assert export_module.export([path], target, kind, "float32", faces).difference < 1e-5
    found = Classifier.open(target).probabilities(faces)
    np.testing.assert_allclose(found, classifier.probabilities(faces), atol=1e-5)


def other_checkpoint(path, class_names=INFO.class_names[::-1]):
    """Save a network whose classes are in another order, and whose answers are a sigmoid's."""
    import keras

    keras.utils.set_random_seed(6)
    faces = keras.Input((48, 48))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(faces))
    model = keras.Model(faces, keras.layers.Dense(len(class_names), activation="sigmoid")(x))
    Classifier.from_model(model, class_names).save(path)
    return path


@pytest.mark.parametrize(("kind", "tta"), [("onnx", "ten_crop"), ("litert", "flip")])
def test_an_ensemble_is_exported_with_its_views(kind, tta, exported, tiny_checkpoint, tmp_path):
    exported("onnx")
    other, target = other_checkpoint(tmp_path / "other.keras"), tmp_path / "made"
    target = target.with_suffix(FORMATS[kind].suffixes[0])
    files, faces = [tiny_checkpoint, other], drawn(20)
    done = export_module.export(files, target, kind, "float32", faces, tta=tta)
    assert done.difference < 1e-5
    exported = Classifier.open(target)
    name = Classifier.open(other).info.model_name
    assert exported.info == replace(INFO, model_name=f"Tiny + {name} ({tta})")
    one, two = (load_checkpoint(path)[0].predict for path in files)
    views = VIEWS[tta](drawn(9, seed=4))
    assert len(views) == {"flip": 2, "ten_crop": 10}[tta]
    first, second = (
        np.mean([ask(view, verbose=0) for view in views], axis=0) for ask in (one, two)
    )
    second = second[:, ::-1] / second.sum(axis=1, keepdims=True)
    found = exported.probabilities(drawn(9, seed=4))
    np.testing.assert_allclose(found, (first + second) / 2, atol=1e-5)


def test_members_may_have_one_name_and_networks_of_one(exported, tiny_checkpoint, tmp_path):
    exported("onnx")
    files = [tiny_checkpoint, shutil.copy(tiny_checkpoint, tmp_path / "b.keras")]
    target = tmp_path / "both.onnx"
    assert (
        export_module.export([*map(Path, files)], target, "onnx", "float32", drawn(9)).difference
        < 1e-5
    )


def test_an_ensemble_needs_a_place_and_the_same_classes(tiny_checkpoint, tmp_path, capsys):
    other = other_checkpoint(tmp_path / "other.keras", ("glad", "sad"))
    line = f"export --checkpoint_path {tiny_checkpoint} {other} --format onnx"
    assert main(line.split()) == 2
    assert "expected --output" in capsys.readouterr().err
    assert main([*line.split()[:3], "--tta", "flip", "--format", "onnx"]) == 2
    assert "expected --output" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"expected 8 classes .*, but .* has 2 \(glad, sad\)"):
        export_module.export(
            [tiny_checkpoint, other], tmp_path / "a.onnx", "onnx", "float32", drawn(5)
        )
    assert [path.name for path in tmp_path.iterdir()] == ["other.keras"]


@pytest.mark.parametrize("killed_while_moving", [False, True])
def test_the_next_export_clears_what_a_killed_one_left(
    killed_while_moving, exported, tiny_checkpoint, tmp_path, monkeypatch
):
    monkeypatch.setitem(FORMATS, "onnx", without_converting("onnx", exported("onnx")))
    work = tmp_path / ".partial-killed"
    (work / "new").mkdir(parents=True)
    (work / "old").mkdir()
    (work / "new" / "model.tflite").write_bytes(b"half")
    (work / "old" / "model.tflite").write_bytes(b"older")
    if not killed_while_moving:
        (tmp_path / "model.tflite").write_bytes(b"newer")
    busy = tmp_path / ".partial-busy"
    busy.mkdir()
    descriptor = os.open(busy / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # as by another process at work
    try:
        target = tmp_path / exported("onnx").path.name
        export_module.export([tiny_checkpoint], target, "onnx", "float32", drawn(20))
    finally:
        os.close(descriptor)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [".partial-busy", "model.tflite", target.name]
    )
    expected = b"older" if killed_while_moving else b"newer"
    assert (tmp_path / "model.tflite").read_bytes() == expected


def test_an_export_into_a_run_that_is_written_is_refused(tiny_checkpoint, tmp_path):
    target = tmp_path / "model.onnx"
    with Run(tmp_path).writing(), pytest.raises(InputError, match="is in use by process"):
        export_module.export([tiny_checkpoint], target, "onnx", "float32", drawn(20))
    assert list(tmp_path.iterdir()) == []


BY_JAX = """
import sys
from pathlib import Path
from ferplus_keras.models.registry import MODELS
from tests import tiny
from tests.exports import write_checkpoint
MODELS["Tiny"] = tiny.SPEC
write_checkpoint(Path(sys.argv[1]))

from ferplus_keras.errors import InputError
from ferplus_keras.export import check_export
try:
    check_export([Path(sys.argv[1])], Path("a.onnx"), "onnx", "float32")
except InputError as error:
    print(error)
"""


def test_a_checkpoint_saved_by_jax_is_exported_by_tensorflow_only(exported, tmp_path):
    pytest.importorskip("jax")
    exported("onnx")
    path = tmp_path / "jax.keras"
    saved = subprocess.run(
        [sys.executable, "-c", BY_JAX, str(path)],
        cwd=REPOSITORY,
        env=environment("jax"),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert "exporting needs Keras on TensorFlow, but it runs on jax" in saved.stdout
    faces = drawn(20)
    done = export_module.export([path], tmp_path / "a.onnx", "onnx", "float32", faces)
    assert done.difference < 1e-5


DOCS = (REPOSITORY / "docs/export.md").read_text(encoding="utf-8")


def test_the_documented_table_is_the_table_of_formats():
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \| ([^|]*) \| ([^|]*) \|", DOCS, re.M)
    assert sorted(row[0] for row in rows) == sorted(EXPORTS)
    for name, endings, precisions, runs in rows:
        row = FORMATS[name]
        suffixes = (row.suffixes[0] or "a folder", *row.beside)
        assert re.sub("`", "", endings) == " and ".join(suffixes)
        assert precisions == ", ".join(row.precisions)
        assert runs == row.runs_in
