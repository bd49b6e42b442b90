"""Files with random damage: each reader takes them or refuses them in one line.

python -m pytest tests/test_fuzz.py                                   # seconds, always the same
FERPLUS_FUZZ_SECONDS=600 python -m pytest tests/test_fuzz.py -k yaml  # ten minutes each, new ones
"""

import contextlib
import copy
import io
import itertools
import json
import os
import re
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

hypothesis = pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from ferplus_keras.cli import main  # noqa: E402
from ferplus_keras.config import EvaluateConfig, TrainConfig, read_config  # noqa: E402
from ferplus_keras.data.fer2013 import read_fer2013  # noqa: E402
from ferplus_keras.data.ferplus import ferplus_votes  # noqa: E402
from ferplus_keras.data.layouts import find_faces  # noqa: E402
from ferplus_keras.data.lists import written_by_microsoft  # noqa: E402
from ferplus_keras.data.pictures import read_picture  # noqa: E402
from ferplus_keras.emotions import FERPLUS_CLASSES  # noqa: E402
from ferplus_keras.errors import InputError  # noqa: E402
from ferplus_keras.run import Run  # noqa: E402
from tests.conftest import REPOSITORY  # noqa: E402
from tests.data.csv_files import (  # noqa: E402
    fer2013_lines,
    random_rows,
    text,
    votes_lines,
    write_both,
)

SECONDS = float(os.environ.get("FERPLUS_FUZZ_SECONDS", 0))
"""How long each reader is tried with ever new files; 0 tries the same few."""

ODD = (
    *(b"", b"0", b"-1", b"1e999", b"99999999999999999999", b"NaN", b"null", b"true", b"[]", b"{}"),
    *(b'""', b"'", b'"', b"\n", b",", b";", b"\t", b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"../../x"),
    *(
        b"=1+1",
        b"\x1b[2J",
        b"!!float x",
        b"!!python/object:os.system",
        b"&a [*a]",
        b"<<: *b",
        b"- ",
    ),
    *(b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"[" * 3000),
)
ODD_VALUES = (None, True, 0, -1, 0.5, 1e400, 10**30, "", "x", "a\nb\x1b[2J", [], {}, [None], [{}])
TOKEN = re.compile(rb'"[^"\n]*"|[\w.+-]+|[^\w\s]')
ARCHIVE = b"PK\x03\x04"


class Reader(NamedTuple):
    """What reads a kind of file."""

    content: bytes  # of a sound file
    name: str  # of the file
    read: Callable[[Path], object]
    tries: int


READERS: dict[str, Callable[[Path], Reader]] = {}


def reader(make):
    """Enter a function from an empty folder to a `Reader`, which reads files in that folder."""
    READERS[make.__name__] = make
    return make


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """Return files like a sound one; in a zip archive its members are damaged, or its bytes."""
    if content.startswith(b"{"):
        return damaged_json(content) | damaged_bytes(content)
    if not content.startswith(ARCHIVE):
        return damaged_bytes(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    def packed(name: str, changed: bytes | None) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for each, held in ({**members, name: changed}).items():
                if held is not None:
                    archive.writestr(each, held)
        return file.getvalue()

    inside = [
        st.builds(packed, st.just(name), st.none() | damaged_bytes(held))
        for name, held in members.items()
    ]
    return st.one_of(damaged_bytes(content), *inside)


@st.composite
def damaged_json(draw, content: bytes) -> bytes:
    """Put something else into some places, or take something out of them."""
    found = json.loads(content)
    for _ in range(draw(st.integers(1, 2))):
        inside = found
        while True:
            keys = list(inside) if isinstance(inside, dict) else range(len(inside))
            key = draw(st.sampled_from(keys))
            if not isinstance(inside[key], dict | list) or not inside[key] or draw(st.booleans()):
                break
            inside = inside[key]
        if draw(st.booleans()):
            inside[key] = copy.deepcopy(draw(st.sampled_from(ODD_VALUES)))
        else:
            del inside[key]
        if not found:
            break
    return json.dumps(found).encode()


@st.composite
def damaged_bytes(draw, content: bytes) -> bytes:
    words = [match.span() for match in TOKEN.finditer(content[:20_000])]
    for _ in range(draw(st.integers(1, 3))):
        size = len(content)
        start = draw(st.integers(0, min(size, 512)) | st.integers(0, size))
        end = min(size, start + draw(st.integers(0, 8) | st.integers(0, size)))
        put = draw(st.sampled_from(ODD) | st.binary(max_size=8))
        if words and draw(st.booleans()):  # a whole word
            start, end = draw(st.sampled_from(words))
        elif draw(st.booleans()):  # another part of the file
            other = draw(st.integers(0, size))
            put = content[other : other + draw(st.integers(0, 64))]
        content = content[:start] + put + content[end:]
        words = []
    return content


def command(*words: str) -> None:
    """Run a command as a user does; what it refuses is one line."""
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        code = main(words)
    assert code in (0, 1, 2)
    if code:
        (line,) = [line for line in said.getvalue().splitlines() if line.startswith("error: ")]
        raise InputError(line)


def test_brackets_without_end_are_refused(tmp_path):
    from ferplus_keras.models.dlib_files import read_face_api

    path = tmp_path / "face_recognition_model-weights_manifest.json"
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(InputError, match="is not a manifest of face-api: its brackets are nested"):
        read_face_api(path)
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    table = pyarrow.table({"image": [b"x"], "label": [0]})
    table = table.replace_schema_metadata({b"huggingface": b"[" * 100_000})
    path.unlink()
    write_table(table, tmp_path / "faces.parquet")
    with pytest.raises(InputError, match=r"cannot read .*faces\.parquet: its brackets are nested"):
        find_faces(tmp_path)
    header = np.array("[" * 100_000)
    np.savez(tmp_path / "resume_state.npz", header=header)
    with pytest.raises(InputError, match=r"cannot read the state .*its brackets are nested"):
        Run(tmp_path).state()


@reader
def votes(folder):
    return Reader(
        text(votes_lines(random_rows(6))), "fer2013new.csv", lambda path: ferplus_votes(folder), 200
    )


@reader
def pixels(folder):
    content = text(fer2013_lines(random_rows(6)))
    return Reader(content, "fer2013.csv", lambda path: read_fer2013(folder, folder / ".cache"), 60)


@reader
def labels(folder):
    content = b'path,label,split\na/1.png,happiness,train\n"b, 2.png",sadness,test\n'
    return Reader(content, "labels.csv", lambda path: find_faces(folder), 200)


@reader
def label_csv(folder):
    def read(path):
        np.array([file.label.split() for file in written_by_microsoft(folder)], int)

    (folder / "FER2013Train").mkdir()
    content = b'1.png,1,0,0,9,0,0,0,0,0,0\n2.png,"(0, 0, 48, 48)",1,0,0,9,0,0,0,0,0,0\n'
    return Reader(content, "FER2013Train/label.csv", read, 200)


@reader
def label_lst(folder):
    content = b"a.jpg 0 1 2 3 4 99 0\nb.jpg 1 1 2 3 4 99 6\n"
    return Reader(content, "label.lst", lambda path: find_faces(folder), 200)


@reader
def parquet(folder):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    rows = {"image": [b"\x89PNG", b"\x89PNG"], "label": [0, 1], "person": ["a", "b"]}
    file = io.BytesIO()
    write_table(pyarrow.table(rows), file)
    return Reader(file.getvalue(), "faces.parquet", lambda path: find_faces(folder), 200)


def encoded(kind: str, mode: str = "RGB") -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (24, 20, 4), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(file, kind)
    return file.getvalue()


def picture(kind, mode="RGB"):
    def make(folder):
        return Reader(encoded(kind, mode), f"face.{kind.lower()}", read_picture, 100)

    return make


MODES = {"PNG": "RGBA", "JPEG": "RGB", "GIF": "P", "WEBP": "RGB"}
MODES |= {"TIFF": "RGB", "BMP": "RGB", "PPM": "L"}
READERS |= {f"picture_{kind.lower()}": picture(kind, mode) for kind, mode in MODES.items()}


@reader
def yaml(folder):
    content = (REPOSITORY / "recipes" / "demo.yaml").read_bytes()
    return Reader(
        content,
        "recipe.yaml",
        lambda path: read_config(TrainConfig, ["--config", str(path)], "train.py"),
        100,
    )


@reader
def yaml_of_evaluation(folder):
    content = b"splits: [test]\ntta: flip\nbatch_size: 32\ncheckpoint_path: [a, b]\n"
    return Reader(
        content,
        "test.yaml",
        lambda path: read_config(EvaluateConfig, ["--config", str(path)], "test.py"),
        100,
    )


@reader
def state(folder):
    header = {"epochs": 3, "stopped": False, "callbacks": {"SaveBest 0": {"best": 0.5}}}
    file = io.BytesIO()
    np.savez(file, header=np.array(json.dumps(header)), variable_0000=np.ones((3, 3), "float32"))
    return Reader(file.getvalue(), "resume_state.npz", lambda path: Run(folder).state(), 100)


@reader
def record(folder):
    (folder / "final_model.keras").touch()
    content = json.dumps({"best": {"epoch": 3}, "versions": {"keras": "3"}}).encode()
    return Reader(content, "run.json", lambda path: Run(folder).is_trained, 200)


@reader
def history(folder):
    content = b"epoch,accuracy,loss,val_accuracy\n0,0.5,1.25,0.4\n1,0.6,1.0,0.45\n"
    return Reader(content, "training.csv", lambda path: Run(folder).history(), 200)


def evaluated(folder: Path) -> Path:
    """Write two runs with everything that an evaluation leaves, the first in `folder` itself."""
    pytest.importorskip("sklearn")
    from tests.evaluation.test_compare import write_run

    answers = np.random.default_rng(0).integers(0, 3, 40)
    digest = "0" * 64
    for run, seed in ((folder / "runs/one", 1), (folder / "runs/two", 2)):
        run.parent.mkdir(exist_ok=True)
        write_run(run, range(40), answers, seed, checkpoint_sha256=digest)
    for name in ("report.json", "predictions.csv"):
        shutil.copy(folder / "runs/one" / name, folder / name)
    return folder / "runs/two"


@reader
def report(folder):
    other = evaluated(folder)
    content = (folder / "report.json").read_bytes()
    return Reader(
        content, "report.json", lambda path: command("compare", str(folder), str(other)), 25
    )


@reader
def predictions(folder):
    other = evaluated(folder)
    content = (folder / "predictions.csv").read_bytes()
    return Reader(
        content, "predictions.csv", lambda path: command("compare", str(folder), str(other)), 25
    )


def scored(suffix: str, write: Callable[[np.ndarray, Path], object]):
    def make(folder):
        pytest.importorskip("sklearn")
        write_both(folder, random_rows(30))
        path = folder / f"others.{suffix}"
        write(np.random.default_rng(0).dirichlet(np.ones(8), 5).astype("float32"), path)
        words = ("evaluate", str(path), "--splits", "test", "--data_dir", str(folder))
        return Reader(path.read_bytes(), path.name, lambda path: command(*words), 12)

    return make


READERS["scored_npy"] = scored("npy", lambda values, path: np.save(path, values))
READERS["scored_csv"] = scored(
    "csv",
    lambda values, path: np.savetxt(
        path, values, delimiter=",", header=",".join(FERPLUS_CLASSES), comments=""
    ),
)
READERS["scored_parquet"] = scored(
    "parquet",
    lambda values, path: (
        pytest.importorskip("pandas").DataFrame(values, columns=FERPLUS_CLASSES).to_parquet(path)
    ),
)


@reader
def result(folder):
    pytest.importorskip("sklearn")
    from tools.record import edits_refused
    from tools.tables import TABLES, Sources

    recipes = REPOSITORY / "recipes"
    sources = Sources(folder, recipes, REPOSITORY / "docs" / "recipes.md")

    def read(path):
        with edits_refused(f"a result in {folder}"):
            for kind in ("recipes", "evaluations", "runs", "commands"):
                TABLES[kind](sources, "")
            TABLES["rules"](sources, path.stem)

    return Reader((REPOSITORY / "results/fast_fer.json").read_bytes(), "fast_fer.json", read, 40)


def layers() -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return {
        "conv": {"kernel": rng.random((3, 3, 3, 4), "f4"), "bias": rng.random(4, "f4")},
        "dense": {"kernel": rng.random((4, 2), "f4"), "bias": rng.random(2, "f4")},
    }


@reader
def hdf5(folder):
    pytest.importorskip("keras")
    from ferplus_keras.models.weights import open_layers
    from tests.models.networks import write_keras2_model

    write_keras2_model(folder / "sound.hdf5", layers())

    def read(path):
        from ferplus_keras.models.hdf5 import read_settings

        read_settings(path, "dense")
        with open_layers(path) as stored:
            for variables in stored.values():
                for values in variables.values():
                    np.asarray(values)

    return Reader((folder / "sound.hdf5").read_bytes(), "weights.hdf5", read, 150)


@reader
def keras_checkpoint(folder):
    keras = pytest.importorskip("keras")
    from ferplus_keras.models.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint

    faces = keras.Input((48, 48), dtype="uint8", name="faces")
    x = keras.layers.Dense(2, "softmax", name="dense")(keras.layers.Flatten(name="flat")(faces))
    info = CheckpointInfo("own", 48, ("glad", "sad"), "Folder", "unknown", "majority")
    save_checkpoint(keras.Model(faces, x, name="own"), folder / "sound.keras", info)
    content = (folder / "sound.keras").read_bytes()
    return Reader(content, "model.keras", load_checkpoint, 30)


@reader
def dlib(folder):
    pytest.importorskip("keras")
    from ferplus_keras.models.dlib_files import read_dat
    from tests.models.test_dlib import random_numbers, serialised

    return Reader(serialised(random_numbers()), "network.dat", read_dat, 15)


@reader
def face_api(folder):
    pytest.importorskip("keras")
    from ferplus_keras.models.dlib_files import read_face_api
    from tests.models.test_dlib import random_numbers, write_face_api

    write_face_api(folder, random_numbers())
    name = "face_recognition_model-weights_manifest.json"
    return Reader((folder / name).read_bytes(), name, read_face_api, 15)


@pytest.mark.parametrize("kind", READERS)
def test_damage_is_refused_in_one_line(kind, tmp_path, monkeypatch):
    sound = READERS[kind](tmp_path)
    path = tmp_path / sound.name
    path.write_bytes(sound.content)
    sound.read(path)  # or the test would be about another fault
    monkeypatch.chdir(tmp_path)

    @settings(
        max_examples=sound.tries,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(sound.content))
    def attempt(content):
        path.write_bytes(content)
        try:
            sound.read(path)
        except InputError as error:
            said = str(error)
            if not said or "\n" in said:
                pytest.fail(f"expected one line, got {said!r}")

    end = time.monotonic() + SECONDS
    for seed in itertools.count():
        hypothesis.seed(seed)(attempt)()
        if time.monotonic() >= end:
            break
