"""What a user's mistake looks like: exit code, one line on standard error, nothing half-written."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest

import ferplus_keras
from ferplus_keras.cli import exit_code, main
from tests.conftest import REPOSITORY, SignalWhenDeleted


def refused(capsys, line, code):
    """Run a command that must be refused and return the one line it says."""
    assert main(line.split()) == code
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1, said
    assert "Traceback" not in said
    return said


@pytest.fixture
def data(sample_data, tmp_path):
    """Return a copy of the sample data that a test may damage."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("fer2013.csv", "fer2013new.csv"):
        shutil.copyfile(sample_data / name, folder / name)
    return folder


def edit(path, change):
    path.write_text(change(path.read_text().splitlines(keepends=True)))


def cut_a_pixel(lines):
    emotion, pixels, usage = lines[3].split(",")
    lines[3] = f"{emotion},{pixels.rsplit(' ', 1)[0]},{usage}"
    return "".join(lines)


def swap_usage(lines):
    return "".join(lines).replace("Training", "PublicTest", 1)


DAMAGES = {
    "missing pixels file": ("fer2013.csv", None, "fer2013.csv"),
    "missing votes": ("fer2013new.csv", None, "with --dataset_name Folder"),
    "web page": ("fer2013.csv", lambda _: "<!DOCTYPE html><html></html>", "web page"),
    "empty": ("fer2013.csv", lambda _: "", "empty"),
    "wrong columns": (
        "fer2013.csv",
        lambda lines: "a,b,c\n" + "".join(lines[1:]),
        "emotion, pixels, Usage",
    ),
    "2,303 pixels": ("fer2013.csv", cut_a_pixel, "row 3,"),
    "a pixel of 256": (
        "fer2013.csv",
        lambda lines: "".join([*lines[:2], lines[2][:2] + "256 " + lines[2][6:], *lines[3:]]),
        "row 2,",
    ),
    "truncated": ("fer2013.csv", lambda lines: "".join(lines)[:-3000], "row 400,"),
    "votes shorter": ("fer2013new.csv", lambda lines: "".join(lines[:-1]), "399"),
    "votes in another order": ("fer2013new.csv", swap_usage, "row 1"),
    "votes lack a column": (
        "fer2013new.csv",
        lambda lines: "".join(lines).replace("contempt", "scorn"),
        "contempt",
    ),
    "a vote that is no number": (
        "fer2013new.csv",
        lambda lines: "".join([*lines[:4], lines[4].rsplit(",", 1)[0] + ",x\n", *lines[5:]]),
        "row 4",
    ),
    "no validation rows": (
        "both",
        lambda lines: "".join(line for line in lines if "PublicTest" not in line),
        "rows for the validation split",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_data(capsys, data, tmp_path, damage):
    name, change, expected = DAMAGES[damage]
    for path in data.glob("*.csv") if name == "both" else [data / name]:
        if change is None:
            path.unlink()
        else:
            edit(path, change)
    runs = tmp_path / "runs"
    said = refused(
        capsys,
        f"train --data_dir {data} --weights none --image_size 48 --checkpoints_dir {runs}",
        1,
    )
    assert expected in said
    assert not [path for path in runs.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_data_without_test_rows_are_trained_on_and_evaluated(capsys, data, tmp_path):
    for path in data.glob("*.csv"):
        edit(path, lambda lines: "".join(line for line in lines if "PrivateTest" not in line))
    line = f"--data_dir {data} --checkpoints_dir {tmp_path} --name a --num_gpus 0"
    model = "--model_name FaceEmotionCNN --limit_train 64 --nepochs 1"
    assert main(f"train {line} {model}".split()) == 0
    assert main(f"test {line}".split()) == 0
    assert list(json.loads((tmp_path / "a/report.json").read_text())["splits"]) == ["validation"]
    assert "left out: expected rows for the test split" in capsys.readouterr().err
    assert main(f"test {line} --splits test".split()) == 1
    assert "error: expected rows for the test split" in capsys.readouterr().err


def test_wrong_arguments(capsys):
    assert "--model_name" in refused(capsys, "train --modle_name ResNet50", 2)
    assert "ResNet50" in refused(capsys, "train --model_name ResNet5", 2)
    assert "--checkpoint_path" in refused(capsys, "test", 2)
    assert "majority" in refused(capsys, "labels --label_rule majorty", 2)
    assert "labels" in refused(capsys, "lables", 2)
    assert "activation_36" in refused(
        capsys, "layers --model_name ResNet50 --image_size 48 --freeze_before activaton_36", 2
    )
    assert "48" in refused(capsys, "layers --model_name ResNet50 --image_size 20", 2)


def test_not_a_checkpoint(capsys, tmp_path, sample_data):
    (tmp_path / "a.keras").write_text("<html>")
    line = f"--checkpoint_path {tmp_path / 'a.keras'} --data_dir {sample_data}"
    assert "not a .keras checkpoint" in refused(capsys, f"test {line}", 1)
    (tmp_path / "a.hdf5").write_text("<html>")
    line = f"--checkpoint_path {tmp_path / 'a.hdf5'} --data_dir {sample_data}"
    assert "HDF5" in refused(capsys, f"test {line}", 1)


def test_a_folder_that_cannot_be_written(capsys, tmp_path, sample_data):
    (tmp_path / "file").write_text("not a folder")
    line = f"--data_dir {sample_data} --weights none --checkpoints_dir {tmp_path / 'file'}"
    assert "--checkpoints_dir" in refused(capsys, f"train {line}", 1)


def test_no_network_names_the_way_out(capsys, tmp_path, sample_data, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("FERPLUS_WEIGHTS_DIR", raising=False)
    line = f"--data_dir {sample_data} --image_size 48 --checkpoints_dir {tmp_path}"
    said = refused(capsys, f"train {line}", 1)
    assert "https://github.com/rcmalli/keras-vggface/releases/download/v2.0/" in said
    assert str(tmp_path / "keras" / "models" / "vggface") in said
    assert "--weights none" in said


def test_labels_and_layers_as_json(capsys, sample_data):
    assert main(["labels", "--data_dir", str(sample_data), "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts["label_rule"] == "majority"
    assert sum(split["rows"] for split in counts["splits"].values()) == 400

    line = "layers --model_name ResNet50 --freeze_before -51 --image_size 48 --json"
    assert main(line.split()) == 0
    layers = json.loads(capsys.readouterr().out)
    assert len(layers) == 177
    boundary = layers[-51]
    assert (boundary["position"], boundary["name"]) == (-51, "activation_36")
    assert [layer["trainable"] for layer in layers] == [False] * 126 + [True] * 51


@pytest.mark.slow
def test_layers_are_listed_without_notices_of_the_backend(monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    words = ["-m", "ferplus_keras", "layers", "--model_name", "FaceEmotionCNN"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "training every layer: " in done.stdout


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import ferplus_keras
from ferplus_keras.cli import main
from ferplus_keras.models.registry import MODELS
from ferplus_keras.training.callbacks import Progress
from tests import tiny

MODELS["Tiny"] = tiny.SPEC

def on_epoch_begin(self, epoch, logs=None, seen=Progress.on_epoch_begin):
    seen(self, epoch, logs)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

Progress.on_epoch_begin = on_epoch_begin
sys.exit(main(["train", *sys.argv[1:]]))
"""


def test_a_full_disk_is_one_line_and_leaves_no_half_file(tmp_path, sample_data):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            LIMITED,
            *f"--data_dir {sample_data} --model_name Tiny --weights none --image_size 48 "
            f"--nepochs 1 --limit_train 32 --checkpoints_dir {tmp_path} --name run".split(),
        ],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1, done.stderr
    assert len(errors) == 1
    assert f"cannot write {tmp_path / 'run' / 'model_max_acc.keras'}" in errors[0]
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "run").glob("*.keras"))
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8.64GiB\n with"),
        MemoryError(),
    ],
)
def test_too_little_memory_is_one_line(capsys, error):
    def verb(arguments):
        raise error

    assert exit_code(lambda argv: (verb, argv))([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: not enough memory: lower --batch_size")
    assert "()" not in line


def test_signals_are_handled_by_a_command_while_it_runs_only():
    """Else a process that was forked after it, and is terminated, would go on as its parent."""
    before = signal.getsignal(signal.SIGTERM)
    during = []

    def verb(arguments):
        during.append(signal.getsignal(signal.SIGTERM))

    assert exit_code(lambda argv: (verb, argv))([]) == 0
    assert during != [before]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_within_a_deletion_is_sent_again(number, code):
    def verb(arguments):
        SignalWhenDeleted(number)
        time.sleep(60)

    started = time.monotonic()
    assert exit_code(lambda argv: (verb, argv))([]) == code
    assert time.monotonic() - started < 30  # the sleep was cut short


def test_a_signal_that_is_ignored_stays_ignored():
    """As nohup asks for."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        found = []
        exit_code(lambda argv: (lambda _: found.append(signal.getsignal(signal.SIGHUP)), argv))([])
        assert found == [signal.SIG_IGN]
    finally:
        signal.signal(signal.SIGHUP, before)


def test_closed_standard_streams_are_as_good_as_empty(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert exit_code(lambda argv: (lambda _: print(sys.stdin.read()), argv))([]) == 0


def test_a_defect_keeps_its_traceback():
    def verb(arguments):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        exit_code(lambda argv: (verb, argv))([])


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ferplus_keras {ferplus_keras.__version__}\n"
