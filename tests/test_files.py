"""Files written whole, whatever stands in their place and whenever a process is killed."""

import os
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ferplus_keras import workspace as workspaces
from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing, require_writable
from ferplus_keras.inputs import cell, open_zip, plain
from ferplus_keras.run import Run
from ferplus_keras.workspace import lock, workspace


def write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text)


def test_a_link_stays_and_what_it_names_is_replaced(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link, file = tmp_path / "link.csv", tmp_path / "elsewhere" / "file.csv"
    for older in ("older", None):  # there, and not there yet
        if older:
            file.write_text(older)
        link.unlink(missing_ok=True)
        link.symlink_to(Path("elsewhere") / "file.csv")
        write(link, "new")
        assert link.is_symlink()
        assert file.read_text() == "new"
        file.unlink()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["elsewhere", "link.csv"]


def test_a_pipe_gets_the_file_and_stays_a_pipe(tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    write(pipe, "all of it")
    reader.join()
    assert got == ["all of it"]
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_device_that_is_full_is_one_line_and_stays_a_device():
    before = os.stat("/dev/full")
    with pytest.raises(InputError, match="cannot write /dev/full: No space left on device"):
        write(Path("/dev/full"), "x")
    assert os.stat("/dev/full").st_rdev == before.st_rdev


def test_a_reader_that_has_gone_is_not_said_to_be_a_fault_of_the_file(tmp_path):
    with pytest.raises(BrokenPipeError), replacing(tmp_path / "copy.mp4"):
        raise BrokenPipeError


@pytest.mark.parametrize("to_file", [False, True])
def test_standard_output_by_name(tmp_path, to_file):
    script = (
        "from pathlib import Path; from tests.test_files import write\n"
        "print('first', flush=True); write(Path('/dev/stdout'), 'second\\n')"
    )
    target = tmp_path / "out.txt"
    with target.open("w") as sink:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=sink if to_file else subprocess.PIPE, check=True
        )
    assert (target.read_bytes() if to_file else done.stdout) == b"first\nsecond\n"


def test_a_failure_leaves_the_older_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write(path, "older")
    with pytest.raises(UnicodeEncodeError):
        write(path, "half \udcff")
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, signal, sys
from pathlib import Path
from ferplus_keras.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("now", flush=True)
    os.kill(os.getpid(), signal.SIGKILL if sys.argv[2] == "dies" else signal.SIGSTOP)
"""


def test_what_a_killed_writer_left_is_removed_by_the_next_and_a_living_one_is_left(tmp_path):
    path = tmp_path / "a.json"
    command = [sys.executable, "-c", KILLED, str(path)]
    assert subprocess.run([*command, "dies"], stdout=subprocess.DEVNULL).returncode == -9
    living = subprocess.Popen([*command, "waits"], stdout=subprocess.PIPE)
    try:
        assert living.stdout.readline() == b"now\n"  # it has swept what the first left
        (kept,) = tmp_path.glob(f"{workspaces.WORK}*")
        workspaces._sweep.cache_clear()
        write(path, "whole")
        assert sorted(tmp_path.iterdir()) == sorted([kept, path])
        living.kill()
        living.wait()
        workspaces._sweep.cache_clear()
        write(path, "again")
        assert list(tmp_path.iterdir()) == [path]
        assert path.read_text() == "again"
    finally:
        living.send_signal(signal.SIGKILL)
        living.wait()


def test_a_folder_at_work_is_locked_by_a_file_in_it(tmp_path):
    """NFS tells other machines of no lock on a folder."""
    with workspace(tmp_path) as work:
        assert lock(work / ".lock") is None
        os.close(lock(work))


def test_without_locks_as_on_windows_nothing_is_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(workspaces, "fcntl", None)
    with workspace(tmp_path) as living:
        workspaces._sweep.cache_clear()
        with Run(tmp_path).writing():
            write(tmp_path / "a.json", "of another process")
        assert living.is_dir()


def test_writers_and_sweepers_of_one_folder_do_not_disturb_each_other(tmp_path):
    def work(number: int) -> None:
        for _ in range(100):
            workspaces._sweep.cache_clear()
            require_writable(tmp_path / "deep" / "folder", "--sweep_dir")
            write(tmp_path / f"{number}.txt", "x" * number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {path.name for path in tmp_path.glob("*.txt")} == {f"{n}.txt" for n in range(4)}
    assert not list(tmp_path.glob(f"{workspaces.WORK}*"))


def test_what_was_moved_away_is_put_back_after_a_kill(tmp_path):
    work = tmp_path / f"{workspaces.WORK}x"
    (work / "old").mkdir(parents=True)
    for name in ("lost", "replaced"):
        (work / "old" / name).write_text("older")
    (tmp_path / "replaced").write_text("newer")
    with workspace(tmp_path) as own:
        assert own.is_dir()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "lost": "older",
        "replaced": "newer",
    }


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    bomb = tmp_path / "bomb.keras"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(50_000_000))
    with pytest.raises(InputError, match="would unpack its"), open_zip(bomb, "a checkpoint"):
        pytest.fail("was opened")


def test_an_archive_with_a_flipped_byte_is_refused(tmp_path):
    path = tmp_path / "state.npz"
    np.savez(path, numbers=np.arange(1000.0))
    whole = path.read_bytes()
    for place in (2, 500):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="is not the state"), open_zip(path, "the state") as of:
            of.read("numbers.npy")


def test_pipes_and_devices_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InputError, match=r"is a pipe or a device; expected a file"):
            plain(path)
    assert plain(tmp_path) == tmp_path
    assert plain(tmp_path / "missing") == tmp_path / "missing"


@pytest.mark.parametrize("name", ["=1+1.png", "+a.png", "-a.png", "@a.png", "\ta.png"])
def test_a_name_that_a_spreadsheet_would_run_stays_the_same_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).write_text("x")
    shown = cell(Path(name))
    assert shown[0] == "."
    assert Path(shown).read_text() == "x"
    assert cell("a=b.png") == "a=b.png"


def test_a_copied_run_takes_the_data_that_the_environment_names(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "config.yaml").write_text(f"data_dir: {tmp_path / 'data'}\n")
    monkeypatch.setenv("FERPLUS_DATA_DIR", "other")
    assert Run(tmp_path).data_dir() == str(tmp_path / "data")
    (tmp_path / "data").rmdir()
    assert Run(tmp_path).data_dir() == "other"
    monkeypatch.delenv("FERPLUS_DATA_DIR")
    assert Run(tmp_path).data_dir() == str(tmp_path / "data")
