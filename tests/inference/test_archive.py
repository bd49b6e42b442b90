"""`predict --engine ray` on a local cluster of two workers, against the plain command."""

import csv
import os
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ferplus_keras import extras
from ferplus_keras.cli import main
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.inference import archive
from ferplus_keras.inference.archive import SETTINGS, Worker, _find, _keep_settings, _open

PREDICT = [sys.executable, "-m", "ferplus_keras", "predict", "--faces", "whole"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Return a folder of 150 pictures, one of them damaged."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(149):
        face = cv2.resize(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8), (64, 64))
        cv2.imwrite(str(folder / f"{number:03d}.png"), face)
    (folder / "bad.png").write_bytes(b"no picture")
    return folder


def command(*words, code=0):
    done = subprocess.run([*PREDICT, *map(str, words)], capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def rows_of(folder):
    from pyarrow import parquet

    return [
        row for path in folder.glob("*.parquet") for row in parquet.read_table(path).to_pylist()
    ]


@pytest.mark.slow
def test_a_local_cluster_equals_the_plain_command_and_a_restart_goes_on(pictures, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'ferplus-keras[ray]'")
    from pyarrow import Table, parquet

    out, table = tmp_path / "out", tmp_path / "plain.csv"
    words = ["--engine", "ray", "--output_dir", out, "--workers", 2]
    assert "150 pictures to do, 0 are in" in command(pictures, *words)
    command(pictures, "--csv", table, code=1)  # which fails for the damaged picture

    with table.open() as file:
        plain = {line["file"]: line for line in csv.DictReader(file)}
    rows = {row["file"]: row for row in rows_of(out)}
    assert len(plain) == 149
    assert rows.keys() - plain.keys() == {str(pictures / "bad.png")}
    assert "no picture" in rows.pop(str(pictures / "bad.png"))["error"]
    for name, line in plain.items():
        row = rows[name]
        assert (row["label"], row["face"], row["error"]) == (line["label"], 0, None)
        for column in ("x", "y", "width", "height"):
            assert row[column] == pytest.approx(float(line[column]), abs=0.05)
        shares = list(line)[list(line).index("label") + 1 :]
        assert len(shares) == 8
        for share in shares:
            assert row[share] == pytest.approx(float(line[share]), abs=1e-5)

    parts = sorted(out.glob("*.parquet"))
    assert len(parts) == 3
    kept = {path: path.stat().st_mtime_ns for path in parts[1:]}
    lost = len(parquet.read_table(parts[0]))
    parts[0].unlink()  # as if the job had been stopped before
    packed = tmp_path / "packed.parquet"
    encoded = [(pictures / f"{number:03d}.png").read_bytes() for number in range(10)]
    images = [{"bytes": picture, "path": None} for picture in [*encoded, b"broken"]]
    parquet.write_table(Table.from_pydict({"image": images}), packed, row_group_size=4)
    said = command(pictures, f"file://{packed}", *words)
    assert f"{lost + 11} pictures to do, {150 - lost} are in" in said
    assert "2 pictures could not be read" in said
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    again = {row["file"]: row for row in rows_of(out)}
    assert len(again) == len(rows_of(out)) == 161
    for number in range(10):
        own, other = (
            again[name] for name in (f"file://{packed}#{number}", f"{pictures}/{number:03d}.png")
        )
        assert own | {"file": ""} == pytest.approx(other | {"file": ""}, abs=1e-5)
    assert "another margin" in command(pictures, *words, "--margin", "0.5", code=1)


def test_a_worker_writes_a_row_per_face_and_one_for_every_other_picture(
    pictures, tmp_path, monkeypatch
):
    pytest.importorskip("pyarrow")
    from pyarrow import Table, parquet

    encoded = [{"bytes": (pictures / f"{number:03d}.png").read_bytes()} for number in range(6)]
    packed = tmp_path / "packed.parquet"
    parquet.write_table(Table.from_pydict({"image": encoded}), packed, row_group_size=4)
    names = [str(pictures / f"{number:03d}.png") for number in (1, 5, 7, 8)]
    worker = Worker(str(tmp_path / "out"), {"detector": "whole"})
    (tmp_path / "out").mkdir()
    find, calls = worker.predictor.find, iter(range(9))

    def sometimes(picture):
        call, (boxes, crops) = next(calls), find(picture)
        if call == 3:
            raise TimeoutError
        return (boxes, crops) if call != 2 else ([], crops[:0])

    monkeypatch.setattr(worker.predictor, "find", sometimes)
    assert worker({"names": [*names, f"{packed}#1", f"{packed}#5"]}) == {"pictures": 6}
    first, last, none, failed, *others = rows_of(tmp_path / "out")
    for row, other in zip((first, last), others, strict=True):
        assert row | {"file": ""} == pytest.approx(other | {"file": ""}, abs=1e-5)
        assert (row["face"], row["width"], row["error"]) == (0, 64, None)
    assert first["confidence"] != last["confidence"]
    for row, name, error in ((none, names[2], None), (failed, names[3], "TimeoutError")):
        assert (row["file"], row["face"], row["error"]) == (name, None, error)


def test_addresses_may_be_patterns_and_endings_in_capitals():
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("pyarrow")
    memory = fsspec.filesystem("memory")
    for name in ("b.png", "a.PNG", "a.txt", "c.jpg"):
        memory.pipe(f"/box/{name}", b"")
    try:
        assert list(_find("memory://box/[ab].*")) == ["memory:///box/a.PNG", "memory:///box/b.png"]
    finally:
        memory.rm("/box", recursive=True)


def test_a_picture_in_an_archive_has_its_whole_address(tmp_path):
    pytest.importorskip("fsspec")
    pytest.importorskip("pyarrow")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("in/1.png", b"the first")
    address = f"zip://in/*.png::{tmp_path}/a.zip"
    (name,) = _find(address)
    assert name == address.replace("*", "1")
    assert _open(name) == b"the first"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--engine", "ray", "a.png"], "--output_dir"),
        (["--output_dir", "out", "a.png"], "--engine ray"),
        (["--engine", "ray", "--output_dir", "out", "--json", "a.png"], "--json needs"),
        (["--engine", "ray", "--output_dir", "out", "a.png", "--webcam"], "--webcam needs"),
        (["--engine", "ray", "--output_dir", "out", "--workers", "0", "a.png"], "at least 1"),
    ],
)
def test_refusals(words, said, capsys):
    assert main(["predict", *words]) == 2
    assert said in capsys.readouterr().err


def test_without_ray_the_extra_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    assert main(["predict", "--engine", "ray", "--output_dir", str(tmp_path / "o"), "a.png"]) == 1
    assert "ferplus-keras[ray]" in capsys.readouterr().err


def test_videos_are_refused(tmp_path):
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(UsageError, match="got the video"):
        list(_find(str(tmp_path / "clip.mp4")))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("zip://a.png::damaged.zip", "cannot read zip://.*: File is not a zip file"),
        ("damaged.parquet", "cannot read .*/damaged.parquet: "),
        ("none://a.png", "cannot read none://a.png: Protocol not known: none"),
        ("memory://none", "no pictures and no Parquet files at memory://none"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, monkeypatch, word, said):
    pytest.importorskip("pyarrow")
    pytest.importorskip("fsspec")
    monkeypatch.chdir(tmp_path)
    for name in ("damaged.zip", "damaged.parquet"):
        (tmp_path / name).write_bytes(b"PAR1, but no more")
    with pytest.raises(InputError, match=said) as caught:
        list(_find(word))
    assert "\n" not in str(caught.value)


def without_ray(monkeypatch):
    """Run no worker and open no model, whose hash `MODELS` says; return what workers would get."""
    given = []

    def predictor(checkpoint_path, **_):
        described = {"checkpoint_sha256": MODELS.get(checkpoint_path)}
        return SimpleNamespace(classifier=SimpleNamespace(describe=lambda: described))

    monkeypatch.setattr(archive, "require", lambda *_: None)
    monkeypatch.setattr(archive, "Predictor", predictor)
    monkeypatch.setattr(archive, "_run", lambda *words: given.append(words))
    return given


MODELS = {"run/model.onnx": "0" * 64}


def test_another_model_of_the_same_name_is_refused(monkeypatch, tmp_path):
    pytest.importorskip("pyarrow")

    given = without_ray(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").touch()
    words = (["a.png", "*.png"], tmp_path / "out", {"checkpoint_path": "run/model.onnx"})
    archive.predict_archive(*words)
    assert given[0][0] == [str(tmp_path / "a.png")]  # once
    archive.predict_archive(*words)  # the same command goes on
    monkeypatch.setitem(MODELS, "run/model.onnx", "1" * 64)  # trained again
    with pytest.raises(InputError, match=r"another model .*choose another --output_dir"):
        archive.predict_archive(*words)
    assert len(given) == 2


def test_a_name_that_parquet_cannot_hold_is_one_line(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.png")).touch()
    with pytest.raises(InputError, match="expected names in UTF-8"):
        list(_find(str(tmp_path)))


def test_workers_get_absolute_paths_since_they_run_in_other_folders(monkeypatch, tmp_path):
    pytest.importorskip("pyarrow")

    given = without_ray(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").touch()
    for model in ("run/model.onnx", "hf://user/name", None):
        settings = {"checkpoint_path": model, "faces_weights": None, "margin": 0.1}
        archive.predict_archive(["a.png"], tmp_path / f"{len(given)}", settings)
    models = [settings["checkpoint_path"] for _, _, settings, _ in given]
    assert models == [str(tmp_path / "run/model.onnx"), "hf://user/name", None]
    assert given[0][2] | {"checkpoint_path": None} == settings


@pytest.mark.parametrize("damage", ["{", "[]", "[" * 100_000])
def test_damaged_settings_of_a_folder_are_refused_in_one_line(tmp_path, damage):
    (tmp_path / SETTINGS).write_text(damage)
    with pytest.raises(InputError, match=f"cannot read .*{SETTINGS}") as caught:
        _keep_settings(tmp_path, {"margin": 0.0})
    assert "\n" not in str(caught.value)
    assert (tmp_path / SETTINGS).read_text() == damage
