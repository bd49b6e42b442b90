"""predict.py, as a user runs it."""

import csv
import errno
import io
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from ferplus_keras.arguments import LineParser
from ferplus_keras.classifier import Classifier
from ferplus_keras.cli import main
from ferplus_keras.data.pictures import read_picture
from ferplus_keras.inference import command
from ferplus_keras.inference import predictor as predictor_module
from ferplus_keras.inference.command import add_arguments
from ferplus_keras.inference.detectors import DETECTORS
from ferplus_keras.inference.sources import open_video, video_writer
from tests.conftest import REPOSITORY
from tests.inference.faces import by_brightness, grounds, head, lay, red_patches
from tests.inference.test_light import run_without


@pytest.fixture
def album(tmp_path, monkeypatch):
    """Make the working folder one with two folders of pictures and a short video."""
    monkeypatch.chdir(tmp_path)
    picture = grounds()
    lay(picture, head(1, 80, 70), 100, 60)
    for name in ("album/one/a.png", "album/two/a.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        cv2.imwrite(name, picture[..., ::-1])
    cv2.imwrite("album/two/empty.jpg", grounds())
    with video_writer(tmp_path / "album/clip.mp4", 10) as add:
        for _ in range(12):
            add(picture)
    return tmp_path


def run(capsys, *words):
    """Return exit code, what was printed, and what was said of errors."""
    code = main(["predict", *map(str, words)])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    return code, said.out, errors


def test_a_table_of_everything_in_a_folder(light, album, capsys):
    code, out, errors = run(capsys, "album")
    assert (code, errors) == (0, [])
    lines = out.splitlines()
    assert lines[0].startswith("album/clip.mp4: 12 frames in ")
    assert "face 0: " in lines[1]
    assert [line.split()[0] for line in lines[3:]] == [
        "album/one/a.png",
        "album/two/a.png",
        "album/two/empty.jpg",
    ]
    assert "no face found" in lines[-1]


def test_json_csv_and_annotated_copies(light, album, capsys):
    out = album / "out"
    words = ("album", "--json", "--csv", out / "faces.csv", "--save_dir", out)
    code, said, errors = run(capsys, *words)
    assert (code, errors) == (0, [])
    entries = json.loads(said)
    files = [entry["file"] for entry in entries]
    assert files == ["album/clip.mp4", "album/one/a.png", "album/two/a.png", "album/two/empty.jpg"]
    assert [len(entry["faces"]) for entry in entries] == [1, 1, 1, 0]
    assert entries[0]["frames"] == 12
    with (out / "faces.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == [*map(str, range(12)), "", ""]
    assert {row["label"] for row in rows} == {entries[1]["faces"][0]["label"]}
    written = [path.relative_to(out).as_posix() for path in out.rglob("*.*")]
    assert sorted(written) == [
        "clip.mp4",
        "faces.csv",
        "one/a.png",
        "two/a.png",
        "two/empty.jpg",
    ]
    plain, drawn = cv2.imread("album/one/a.png"), cv2.imread(str(out / "one/a.png"))
    assert (plain != drawn).any(axis=2)[60:141, 100].all()
    assert open_video(out / "clip.mp4").count == 12


def test_the_older_submission_format(light, album, capsys):
    code, _, _ = run(capsys, "album/one", "album/two", "--submission", "made/later/s.csv")
    assert code == 0
    lines = (album / "made/later/s.csv").read_text().splitlines()
    assert lines[0] == "file,emotion"
    assert [line.split(",")[0] for line in lines[1:]] == [
        "album/one/a.png",
        "album/two/a.png",
        "album/two/empty.jpg",
    ]
    assert lines[1].split(",")[1] != lines[3].split(",")[1] == ""
    code, _, errors = run(capsys, "album", "--submission", "s.csv")
    assert (code, len(errors)) == (2, 1)
    assert "--submission: expected pictures only, got album/clip.mp4" in errors[0]


def test_bad_files_are_named_and_the_rest_is_finished(light, album, capsys):
    whole = (album / "album/two/empty.jpg").read_bytes()
    (album / "album/bad.jpg").write_bytes(whole[: len(whole) // 2])
    code, out, errors = run(capsys, "album/bad.jpg", "album/one", "--csv", "f.csv")
    assert code == 1
    assert errors == [
        error for error in errors if "album/bad.jpg: image file is truncated" in error
    ]
    assert len(errors) == 1
    assert "album/one/a.png" in out
    assert len((album / "f.csv").read_text().splitlines()) == 2
    (album / "album/bad.mp4").write_bytes(b"no video")
    code, out, errors = run(capsys, "album")
    assert code == 1
    assert len(errors) == 3
    assert "album/bad.mp4: no video" in errors[1]
    assert errors[2] == "error: 2 of 6 files could not be used"
    assert out.count("a.png") == 2
    (album / "f.csv").write_text("older")
    code, out, errors = run(capsys, "album/bad.jpg", "--csv", "f.csv")
    assert (code, out, len(errors)) == (1, "", 1)
    assert (album / "f.csv").read_text() == "older"


def test_a_copy_that_cannot_be_written_is_named_and_the_rest_is_finished(light, album, capsys):
    cv2.imwrite("album/two/wide.png", np.zeros((4, 17_000, 3), np.uint8))
    os.rename("album/two/wide.png", "album/two/a wide.webp")  # WebP ends at 16,383 pixels
    code, out, errors = run(capsys, "album/two", "--save_dir", "out", "--csv", "f.csv", "--json")
    assert (code, errors) == (1, ["error: OpenCV cannot write the picture out/a wide.webp"])
    assert [len(entry["faces"]) for entry in json.loads(out)] == [0, 1, 0]
    assert (album / "out/a.png").exists()
    assert len((album / "f.csv").read_text().splitlines()) == 2


def test_the_table_is_written_though_nobody_reads_the_output(album):
    reading, writing = os.pipe()
    os.close(reading)
    words = ["album/clip.mp4", "--faces", "whole", "--csv", "f.csv"]
    with open(writing, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-um", "ferplus_keras", "predict", *words],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )
    assert (done.returncode, "error" in done.stderr) == (0, False)
    assert len((album / "f.csv").read_text().splitlines()) == 1 + 12


def test_a_picture_that_does_not_fit_into_memory_is_named(light, album, capsys, monkeypatch):
    def read(path):
        if path.name == "empty.jpg":
            raise MemoryError
        return read_picture(path)

    monkeypatch.setattr(command, "read_picture", read)
    code, _, errors = run(capsys, "album/two", "--csv", "f.csv")
    assert (code, errors) == (1, ["error: cannot read album/two/empty.jpg: not enough memory"])
    assert len((album / "f.csv").read_text().splitlines()) == 2


def test_a_folder_of_copies_that_cannot_be_made_costs_only_these(light, album, capsys):
    (album / "out").mkdir()
    (album / "out/one").touch()  # a file where a folder should be
    os.rename("album/clip.mp4", "album/one/clip.mp4")
    code, out, errors = run(capsys, "album", "--save_dir", "out", "--csv", "f.csv")
    assert code == 1
    for line in errors[:2]:
        assert line.startswith("error: cannot write to out/one: ")
    assert errors[2] == "error: 2 of 4 files could not be used"
    assert out.count("a.png") == 2
    assert (album / "out/two/a.png").exists()
    assert (album / "f.csv").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")
@pytest.mark.parametrize("flag", ["--csv", "--submission"])
def test_what_was_found_is_printed_when_the_disk_is_full(light, album, capsys, flag):
    code, out, errors = run(capsys, "album/one", flag, "/dev/full", "--json")
    assert (code, errors) == (1, ["error: cannot write /dev/full: No space left on device"])
    assert [len(entry["faces"]) for entry in json.loads(out)] == [1]


def test_a_table_that_fills_the_disk_in_a_video_is_not_cut_off(light, album, capsys, monkeypatch):
    class Full:
        def __init__(self, file, **_):
            self.room = 5

        def writerow(self, row):
            self.room -= 1
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(csv, "writer", Full)
    (album / "f.csv").write_text("older")
    code, _, errors = run(capsys, "album", "--csv", "f.csv", "--save_dir", "out")
    assert (code, errors) == (1, ["error: cannot write f.csv: No space left on device"])
    assert (album / "f.csv").read_text() == "older"
    assert not (album / "out/clip.mp4").exists()


def test_json_names_what_could_not_be_read_and_why(light, album, capsys):
    (album / "album/bad.jpg").write_bytes(b"no picture")
    (album / "album/bad.mp4").write_bytes(b"no video")
    code, out, errors = run(capsys, "album", "--json")
    assert (code, len(errors)) == (1, 3)
    named = {entry["file"]: entry["error"] for entry in json.loads(out) if "error" in entry}
    assert named == {
        "album/bad.jpg": "cannot read album/bad.jpg: no picture, or damaged",
        "album/bad.mp4": "cannot open album/bad.mp4: no video, or damaged",
    }


def test_the_csv_table_on_standard_output_stands_alone(light, album, capsys):
    code, out, errors = run(capsys, "album", "--csv", "-")
    assert (code, errors) == (0, [])
    rows = list(csv.DictReader(out.splitlines()))
    assert {row["file"] for row in rows} == {
        "album/clip.mp4",
        "album/one/a.png",
        "album/two/a.png",
    }
    code, out, errors = run(capsys, "album/one", "--submission", "-")
    assert (code, errors) == (0, [])
    assert [line.partition(",")[0] for line in out.splitlines()] == ["file", "album/one/a.png"]
    code, _, errors = run(capsys, "album", "--csv", "-", "--json")
    assert (code, len(errors)) == (2, 1)


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="Linux and macOS")
def test_tables_go_to_what_a_shell_opened(light, album, capsys):
    with open("faces.csv", "wb") as held:
        code, _, errors = run(capsys, "album/one", "--csv", f"/dev/fd/{held.fileno()}")
    assert (code, errors) == (0, [])
    assert (album / "faces.csv").read_text().startswith("file,face,")
    code, out, errors = run(capsys, "album/one", "--csv", "/dev/stdout")
    assert (code, errors, len(out.splitlines())) == (0, [], 2)


def test_a_folder_is_answered_again_without_its_own_copies(light, album, capsys):
    for folder in ("album/annotated", "album"):
        for expected in [0, 0] if folder != "album" else [2]:
            code, out, errors = run(capsys, "album", "--save_dir", folder, "--json")
            assert code == expected, errors
            assert code or len(json.loads(out)) == 4
    assert "would overwrite" in errors[0]


def test_a_link_to_itself_is_one_line(light, album, capsys):
    (album / "album/self.png").symlink_to("self.png")
    code, out, errors = run(capsys, "album", "--save_dir", "out", "--json")
    assert (code, len(json.loads(out)), len(errors)) == (1, 5, 1)
    assert (album / "out/one/a.png").exists()


def test_long_paths_are_read(light, album, capsys):
    folder = album.joinpath(*["d" * 180] * 2)
    os.renames("album/one/a.png", folder / "a.png")
    assert run(capsys, folder)[0] == 0


def test_names_that_are_not_utf8_are_answered_and_copied(light, album, capfdbinary):
    names = [b"caf\xe9.png", b"caf\xe9.mp4"]
    for name, kind in zip(names, ("one/a.png", "clip.mp4"), strict=True):
        os.rename(album / "album" / kind, os.path.join(os.fsencode(album), b"album", name))
    assert main(["predict", "album", "--json", "--csv", "f.csv", "--save_dir", "out"]) == 0
    out, _ = capfdbinary.readouterr()
    files = [os.fsencode(entry["file"]) for entry in json.loads(out)]
    assert files[:2] == [b"album/caf\xe9.mp4", b"album/caf\xe9.png"]
    assert set(names) < set(os.listdir(b"out"))
    assert b"album/caf\xe9.png,,," in (album / "f.csv").read_bytes()
    copy = open_video(album / "out" / os.fsdecode(names[1]))
    assert len(list(copy.frames)) == 12


def test_a_video_that_was_cut_off_is_answered_as_far_as_it_goes(light, album, capsys):
    path = album / "album/clip.mp4"
    with video_writer(path, 10) as add:
        for index in range(40):
            add(np.random.default_rng(index).integers(0, 256, (240, 320, 3)).astype(np.uint8))
    cut_off(path)
    code, out, errors = run(capsys, path, "--csv", "f.csv", "--faces", "whole", "--json")
    assert (code, len(errors)) == (1, 1)
    ((entry,)) = json.loads(out)
    read = entry["frames"]
    assert 5 < read < 35
    assert len(set((album / "f.csv").read_text().splitlines())) == read + 1
    assert f"of 4.0 s and {read} of 40 frames: it is cut off or damaged, was" in errors[0]
    assert errors[0] == f"error: {entry['error']}"
    code, _, errors = run(capsys, path, "--seconds", "0.5", "--faces", "whole")
    assert (code, errors) == (0, [])


def cut_off(path):
    """Lose the second half of what a video shows, not its table of contents."""
    content = path.read_bytes()
    begin = content.index(b"mdat") + 4
    size = int.from_bytes(content[begin - 8 : begin - 4])
    end = begin - 8 + (size if size > 1 else content.rindex(b"moov") - 4 - begin + 8)
    half = (begin + end) // 2
    path.write_bytes(content[:half] + bytes(end - half) + content[end:])


def test_ctrl_c_keeps_what_was_done(light, album, capsys, monkeypatch):
    asked = []

    def interrupted(picture):
        asked.append(picture.shape)
        if len(asked) == 4:  # the clip's two detections and the first picture are done
            raise KeyboardInterrupt
        return red_patches(picture)

    monkeypatch.setitem(DETECTORS, "auto", lambda weights: interrupted)
    code, out, _ = run(capsys, "album", "--csv", "f.csv", "--save_dir", "out")
    assert code == 130
    assert "album/clip.mp4: 12 frames" in out
    assert "album/one/a.png" in out
    assert "album/two/a.png" not in out
    assert len((album / "f.csv").read_text().splitlines()) == 1 + 12 + 1
    assert sorted(path.name for path in (album / "out").rglob("*.*")) == ["a.png", "clip.mp4"]


def test_ctrl_c_in_a_video_keeps_table_and_copy(light, album, capsys, monkeypatch):
    calls = []

    def interrupted(faces):
        calls.append(len(faces))
        if len(calls) == 7:  # of three frames of each face, in the third chunk
            raise KeyboardInterrupt
        return by_brightness().run(faces)

    path = album / "long.mp4"
    with video_writer(path, 10) as add:
        for _ in range(60):
            add(cv2.imread("album/one/a.png")[..., ::-1])
    monkeypatch.setattr(Classifier, "open", lambda _: replace(by_brightness(), run=interrupted))
    words = (path, "album/one", "--csv", "f.csv", "--save_dir", "out", "--json")
    code, out, _ = run(capsys, *words)
    assert code == 130
    (entry,) = json.loads(out)
    assert entry["frames"] == 32  # two chunks
    assert len((album / "f.csv").read_text().splitlines()) == 33
    assert open_video(album / "out/long.mp4").count == 32


def test_faces_cut_out_already_get_a_hint_at_whole(light, album, capsys):
    for name in ("x.png", "y.png"):
        cv2.imwrite(name, np.full((48, 48, 3), 90, np.uint8))
    assert main(["predict", "x.png", "y.png", "album/two/empty.jpg"]) == 0
    said = capsys.readouterr().err
    assert "no face was found in 2 small square pictures" in said
    assert "use --faces whole" in said
    assert main(["predict", "album/two/empty.jpg"]) == 0
    assert "whole" not in capsys.readouterr().err


def test_paths_on_standard_input(light, album, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("album/one/a.png\n"))
    assert main(["predict", "-", "--faces", "whole", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["faces"][0]["box"] == [0, 0, 320, 240]


def test_the_detector_and_the_network_are_asked_in_batches(light, album, capsys, monkeypatch):
    batches = []

    def counting(path):
        classifier = by_brightness()
        run = classifier.run
        classifier.run = lambda faces: batches.append(len(faces)) or run(faces)
        return classifier

    monkeypatch.setattr(Classifier, "open", counting)
    assert run(capsys, "album/one", "album/two", "--faces", "whole")[0] == 0
    assert batches == [3]


@pytest.mark.parametrize(
    ("line", "code", "expected"),
    [
        ("", 2, "expected pictures, videos or folders, or --webcam"),
        ("gone.jpg", 1, "no file, folder or pattern match for gone.jpg"),
        ("album --every 0", 2, "--every: expected a whole number of at least 1, got '0'"),
        ("album --margin 9", 2, "--margin: expected a number from -0.5 and at most 2, got '9'"),
        ("album --seconds 0", 2, "--seconds: expected a number above 0, got '0'"),
        ("album --faces haar", 2, "invalid choice: 'haar'"),
        ("album --faces yunet", 1, "cannot download http://127.0.0.1:9/yunet.onnx"),
        ("album --jsn", 2, "unknown argument '--jsn'; did you mean '--json'?"),
        ("album --save_dir album", 2, "would overwrite"),
        ("album --save_dir album/one/a.png", 1, "cannot write to album/one/a.png"),
        ("album --csv album/one/a.png/f.csv", 1, "cannot write to album/one/a.png"),
        ("album --csv album", 2, "--csv: expected a file, got the folder album"),
        ("album/one --submission album", 2, "--submission: expected a file, got the folder album"),
        ("--faces whole --csv album/one/a.png album/one/a.png", 2, "--csv: expected the name of a"),
        (
            "album/one --submission s.MP4",
            2,
            "--submission: expected the name of a table, got s",
        ),
        ("album/one --csv s.csv --submission s.csv", 2, "expected another file than --csv s.csv"),
        ("album/one --csv s.csv --submission album/../s.csv", 2, "expected another file than"),
        ("album/one --json --submission -", 2, "expected one of --submission - and --json on"),
        ("--webcam 99", 1, "cannot open camera 99"),
        ("--webcam --submission s.csv", 2, "--submission: expected pictures only"),
    ],
)
def test_mistakes_are_one_line(light, album, capsys, line, code, expected):
    found, out, errors = run(capsys, *line.split())
    assert (found, out, len(errors)) == (code, "", 1)
    assert expected in errors[0]


def test_a_missing_model_is_one_line(album, capsys, monkeypatch):
    for name in ("gone.onnx", "album/one/a.png"):
        found, _, errors = run(capsys, "album", "--faces", "whole", "--checkpoint_path", name)
        assert (found, len(errors)) == (1, 1)
        assert name in errors[0]
    monkeypatch.setattr(predictor_module, "BUNDLED", album / "fast_fer.onnx")
    found, _, errors = run(capsys, "album", "--faces", "whole")
    assert (found, len(errors)) == (1, 1)
    assert "the model that comes with the package is missing" in errors[0]


HEAVY = ("keras", "tensorflow", "jax", "torch", "albumentations", "sklearn", "matplotlib")


def test_an_onnx_model_needs_no_training_libraries(exported, album):
    model = exported("onnx").path
    code = (
        "import sys\nfrom ferplus_keras.cli import main\nsys.exit(main(['predict', *sys.argv[1:]]))"
    )
    words = ("album", "--faces", "whole", "--json", "--checkpoint_path", str(model))
    done = run_without(HEAVY, code, *map(str, (album / words[0], *words[1:])))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 4
    for entry in found:
        ((face,)) = entry["faces"]
        assert np.isclose(sum(face["probabilities"].values()), 1, atol=1e-5)


def test_the_documented_flags_are_those_of_the_parser():
    text = (REPOSITORY / "docs/predict.md").read_text(encoding="utf-8")
    parser = LineParser()
    add_arguments(parser)
    known = {word for action in parser._actions for word in action.option_strings if "--" in word}
    assert set(re.findall(r"`?(--\w+)", text.split("## How a face")[0])) == known - {"--help"}
    for line in re.findall(r"^(?:find .*\| )?python predict\.py (.*)$", text, re.M):
        parser.parse_args(shlex.split(line))
