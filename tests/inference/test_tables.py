"""What predict.py prints and writes."""

import csv
import io
import json
import os
from pathlib import Path

import pytest

from ferplus_keras.cli import escape_output
from ferplus_keras.inference import tables
from ferplus_keras.inference.predictor import Prediction
from ferplus_keras.progress import aligned

SURE = Prediction((10.26, -5, 50, 60), "glad", 0.8, {"cross": 0.2, "glad": 0.8})
UNSURE = Prediction((100, 20, 30, 30), "cross", 0.6, {"cross": 0.6, "glad": 0.4})
FOUND = [(Path("a, b.jpg"), [SURE, UNSURE]), (Path("empty.png"), [])]


def test_the_table_has_a_line_a_face():
    lines = tables.format_table(FOUND).splitlines()
    assert len(lines) == 4
    assert " ".join(lines[1].split()) == "a, b.jpg 10, -5, 50, 60 glad 80.0% cross 20.0%"
    assert lines[3].split() == ["empty.png", "no", "face", "found"]
    assert lines[1].index("glad") == lines[2].index("cross") == lines[3].index("no face")
    only = Prediction((0, 0, 1, 1), "face", 1.0, {"face": 1.0})
    assert tables.format_table([(Path("x"), [only])]).endswith("face        100.0%")


def test_a_long_table_takes_no_longer_per_line():
    class Cell(str):
        measured = 0

        def __len__(self):
            Cell.measured += 1
            return super().__len__()

    aligned([(Cell("a"), Cell("bb"))] * 100)
    assert Cell.measured <= 200


def test_json_and_csv_and_submission(tmp_path):
    entries = json.loads(tables.to_json([tables.picture_entry(*row) for row in FOUND]))
    assert [entry["file"] for entry in entries] == ["a, b.jpg", "empty.png"]
    assert entries[1]["faces"] == []
    assert entries[0]["faces"][0] == {
        "box": [10.3, -5, 50, 60],
        "label": "glad",
        "confidence": 0.8,
        "probabilities": {"cross": 0.2, "glad": 0.8},
    }
    with tables.csv_table(tmp_path / "f.csv", ("cross", "glad")) as add:
        for file, faces in FOUND:
            add(file, enumerate(faces))
    with (tmp_path / "f.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["file", "face", "x", "y", "width", "height", "label", "cross", "glad"]
    assert ";".join(rows[1]) == "a, b.jpg;0;10.3;-5.0;50.0;60.0;glad;0.200000;0.800000"
    assert [row[:2] for row in rows[1:]] == [["a, b.jpg", "0"], ["a, b.jpg", "1"]]
    tables.write_submission(FOUND, tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text().splitlines() == [
        "file,emotion",
        '"a, b.jpg",glad',
        "empty.png,",
    ]


def test_pictures_beside_videos_have_neither_frame_nor_seconds(tmp_path):
    with tables.csv_table(tmp_path / "f.csv", ("cross", "glad"), video=True) as add:
        add("a.jpg", [(0, SURE)])
        add("clip.mp4", [(4, UNSURE)], (7, 0.25))
    with (tmp_path / "f.csv").open(newline="") as file:
        rows = [row[:4] + row[8:9] for row in csv.reader(file)]
    assert rows == [
        ["file", "frame", "seconds", "face", "label"],
        ["a.jpg", "", "", "0", "glad"],
        ["clip.mp4", "7", "0.250", "4", "cross"],
    ]


def test_a_reader_who_leaves_is_no_full_disk(monkeypatch):
    class Pipe(io.StringIO):
        def write(self, text):
            if "a.jpg" in text:
                raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Pipe())
    table = tables.csv_table(tables.STANDARD_OUTPUT, ("cross", "glad"))
    with table as add, pytest.raises(BrokenPipeError):  # which the command line passes over
        add("a.jpg", [(0, SURE)])


def test_a_csv_that_is_broken_off_leaves_the_older_one(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text("older")

    def break_off():
        with tables.csv_table(path, ("cross", "glad")) as add:
            add("a.jpg", [(0, SURE)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert path.read_text() == "older"
    assert [file.name for file in tmp_path.iterdir()] == ["f.csv"]


def test_names_that_are_not_utf8_keep_their_bytes(tmp_path):
    path = Path(os.fsdecode(b"caf\xe9.png"))
    text = tables.to_json([tables.picture_entry(path, [SURE])])
    assert os.fsencode(json.loads(text.encode())[0]["file"]) == b"caf\xe9.png"
    with tables.csv_table(tmp_path / "f.csv", ("cross", "glad")) as add:
        add(path, [(0, SURE)])
    tables.write_submission([(path, [SURE])], tmp_path / "s.csv")
    for name in ("f.csv", "s.csv"):
        assert (tmp_path / name).read_bytes().splitlines()[1].startswith(b"caf\xe9.png,")


def test_names_that_a_spreadsheet_would_run_are_the_same_files_in_the_tables(tmp_path):
    path = Path("=HYPERLINK(1).png")
    with tables.csv_table(tmp_path / "f.csv", ("cross", "glad")) as add:
        add(path, [(0, SURE)])
    tables.write_submission([(path, [SURE])], tmp_path / "s.csv")
    for name in ("f.csv", "s.csv"):
        with (tmp_path / name).open(newline="") as file:
            (found,) = (row["file"] for row in csv.DictReader(file))
        assert found == "./=HYPERLINK(1).png"
        assert Path(found) == path


def test_json_is_json_in_every_encoding():
    entries = [{"file": "笑顔 é 😀.png"}]
    assert "笑顔 é 😀" in tables.to_json(entries)
    assert json.loads(tables.to_json(entries, "cp1252").encode("cp1252")) == entries


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "笑 é ".encode() + b"\xe9"),
        ("cp1252", b"\\u7b11 \xe9 \xe9"),
        ("ascii", b"\\u7b11 \\xe9 \xe9"),
    ],
)
def test_output_takes_every_character(monkeypatch, encoding, expected):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr("sys.stdout", stream)
    escape_output()
    print("笑 é " + os.fsdecode(b"\xe9"), end="", flush=True)
    assert stream.buffer.getvalue() == expected
