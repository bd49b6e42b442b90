import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ferplus_keras.data import cache as pixel_cache
from ferplus_keras.data import fer2013
from ferplus_keras.data.fer2013 import read_fer2013
from tests.data.csv_files import fer2013_lines, random_rows, text

ROWS = random_rows(rows=12, seed=1)
OTHER_ROWS = ROWS._replace(images=ROWS.images[::-1])


@pytest.fixture
def source(tmp_path) -> Path:
    path = tmp_path / "fer2013.csv"
    path.write_bytes(text(fer2013_lines(ROWS)))
    return path


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def parsed(monkeypatch) -> list[Path]:
    """The files parsed so far."""
    files = []
    parse = fer2013._parse
    monkeypatch.setattr(fer2013, "_parse", lambda path: files.append(path) or parse(path))
    return files


def test_a_second_start_maps_the_pixels(source, cache, parsed, monkeypatch):
    first = read_fer2013(source, cache)
    monkeypatch.setattr(hashlib, "file_digest", None)  # nor is the file hashed again
    second = read_fer2013(source, cache)
    assert parsed == [source]
    for found in (first, second):
        assert isinstance(found.images, np.memmap)
        assert not found.images.flags.writeable
        np.testing.assert_array_equal(found.images, ROWS.images)
        np.testing.assert_array_equal(found.opinions, np.eye(7)[ROWS.emotions])
        assert found.splits.tolist() == ROWS.splits
    assert first.hashes == second.hashes


def test_a_touched_file_is_hashed_but_not_parsed(source, cache, parsed, monkeypatch):
    read_fer2013(source, cache)
    os.utime(source, ns=(1, 1))
    read_fer2013(source, cache)
    monkeypatch.setattr(hashlib, "file_digest", None)
    read_fer2013(source, cache)
    assert parsed == [source]


def test_other_contents_of_the_same_size_and_time_are_noticed(source, cache, parsed):
    read_fer2013(source, cache)
    before = source.stat()
    source.write_bytes(text(fer2013_lines(OTHER_ROWS)))
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert source.stat().st_size == before.st_size
    found = read_fer2013(source, cache)
    np.testing.assert_array_equal(found.images, OTHER_ROWS.images)


def test_a_new_entry_takes_the_place_of_the_old_one(source, cache):
    for rows in (ROWS, OTHER_ROWS, ROWS, OTHER_ROWS):
        source.write_bytes(text(fer2013_lines(rows)))
        np.testing.assert_array_equal(read_fer2013(source, cache).images, rows.images)
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".npy"]


def test_files_of_one_name_in_two_folders_keep_their_own_entries(source, cache, parsed, tmp_path):
    other = tmp_path / "other" / "fer2013.csv"
    other.parent.mkdir()
    other.write_bytes(text(fer2013_lines(OTHER_ROWS)))
    for _ in range(2):
        np.testing.assert_array_equal(read_fer2013(source, cache).images, ROWS.images)
        np.testing.assert_array_equal(read_fer2013(other, cache).images, OTHER_ROWS.images)
    assert parsed == [source, other]


def change_record(record: Path, **changes) -> None:
    record.write_text(json.dumps(json.loads(record.read_text()) | changes))


def change_extra(record: Path, **changes) -> None:
    change_record(record, extra=json.loads(record.read_text())["extra"] | changes)


def change_byte(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "no array": lambda array, record: array.unlink(),
    "empty array": lambda array, record: array.write_bytes(b""),
    "truncated array": lambda array, record: os.truncate(array, array.stat().st_size - 1),
    "longer array": lambda array, record: array.write_bytes(array.read_bytes() + b"0"),
    "other pixel": lambda array, record: change_byte(array, 5_000),
    "other header": lambda array, record: change_byte(array, 30),
    "other shape": lambda array, record: np.save(array, ROWS.images.reshape(-1, 24, 96)),
    "other type": lambda array, record: np.save(array, ROWS.images.astype(np.int16)),
    "other faces": lambda array, record: np.save(array, OTHER_ROWS.images),
    "fewer faces": lambda array, record: np.save(array, ROWS.images[:-1]),
    "pickle": lambda array, record: np.save(array, [None], allow_pickle=True),
    "empty record": lambda array, record: record.write_bytes(b""),
    "half a record": lambda array, record: os.truncate(record, record.stat().st_size // 2),
    "not text": lambda array, record: record.write_bytes(b"\xff\xfe\x00"),
    "a list": lambda array, record: record.write_text("[1, 2]"),
    "other format": lambda array, record: change_record(record, format=0),
    "other source": lambda array, record: change_record(record, source="/elsewhere/fer2013.csv"),
    "other hash": lambda array, record: change_record(record, sha256="0" * 64),
    "other emotions": lambda array, record: change_extra(record, emotions=[0] * 12),
    "other usage": lambda array, record: change_extra(record, usage=[0] * 12),
    "fewer emotions": lambda array, record: change_extra(record, emotions=[0]),
    "other row count": lambda array, record: change_record(record, shape=[11, 48, 48]),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_or_foreign_entry_is_rebuilt(source, cache, parsed, damage):
    assert len(ROWS.images) == 12
    read_fer2013(source, cache)
    (array,), (record,) = cache.glob("*.npy"), cache.glob("*.json")
    damage(array, record)
    for _ in range(2):
        found = read_fer2013(source, cache)
        np.testing.assert_array_equal(found.images, ROWS.images)
        np.testing.assert_array_equal(found.opinions, np.eye(7)[ROWS.emotions])
        assert found.splits.tolist() == ROWS.splits
    assert parsed == [source, source]
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".npy"]


LARGE_DAMAGES = {
    "truncated": lambda array: os.truncate(array, array.stat().st_size - 1),
    "longer": lambda array: array.write_bytes(array.read_bytes() + b"0"),
    "other header": lambda array: change_byte(array, 30),
    "half of it zero": lambda array: array.write_bytes(
        array.read_bytes()[: array.stat().st_size // 2].ljust(array.stat().st_size, b"\0")
    ),
    "other faces": lambda array: np.save(array, np.load(array)[::-1]),
}


@pytest.mark.parametrize("damage", LARGE_DAMAGES.values(), ids=LARGE_DAMAGES)
def test_of_a_large_entry_a_part_is_read_and_damage_noticed(cache, tmp_path, monkeypatch, damage):
    monkeypatch.setattr(pixel_cache, "_BLOCK", 2**10)
    monkeypatch.setattr(pixel_cache, "_CHECKED", 2**15)
    faces = np.random.default_rng(0).integers(0, 256, (200, 48, 48), np.uint8)  # 14 * 2**15 bytes
    pixel_cache.store(cache, tmp_path, pixel_cache.Entry(faces, {}, [], "0" * 64))
    read, crc32 = [], pixel_cache.zlib.crc32
    counting = SimpleNamespace(
        crc32=lambda data, *start: read.append(len(data)) or crc32(data, *start)
    )
    monkeypatch.setattr(pixel_cache, "zlib", counting)
    np.testing.assert_array_equal(pixel_cache.load(cache, tmp_path).faces, faces)
    assert 2**15 < sum(read) < 2**17 < faces.nbytes
    damage(next(cache.glob("*.npy")))
    assert pixel_cache.load(cache, tmp_path) is None


def test_without_a_folder_to_write_to_the_pixels_stay_in_memory(source, cache, capsys):
    cache.write_text("a file where the folder should be")
    found = read_fer2013(source, cache)
    np.testing.assert_array_equal(found.images, ROWS.images)
    assert not found.images.flags.writeable
    warning = capsys.readouterr().err
    assert warning.startswith(f"warning: cannot keep the pixels in the cache folder '{cache}'")
    assert warning.count("\n") == 1


def test_a_full_disk_leaves_nothing_half_written(source, cache, capsys, monkeypatch):
    def save_a_part(file, *arguments, **options):
        file.write(b"\x93NUMPY")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pixel_cache.np, "save", save_a_part)
    np.testing.assert_array_equal(read_fer2013(source, cache).images, ROWS.images)
    assert "No space left on device" in capsys.readouterr().err
    assert list(cache.iterdir()) == []


def test_the_folder_is_the_argument_then_the_variable_then_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("FERPLUS_CACHE_DIR", str(tmp_path / "variable"))
    assert pixel_cache.cache_folder("argument") == Path("argument")
    assert pixel_cache.cache_folder() == tmp_path / "variable"
    monkeypatch.delenv("FERPLUS_CACHE_DIR")
    assert pixel_cache.cache_folder() == tmp_path / "xdg" / "ferplus_keras"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert pixel_cache.cache_folder() == Path("~/.cache/ferplus_keras").expanduser()


READ_AGAIN_AND_AGAIN = """
import sys, time, zlib
from pathlib import Path
from ferplus_keras.data.fer2013 import read_fer2013
source, cache = map(Path, sys.argv[1:3])
while not source.exists():
    time.sleep(0.001)
for _ in range(30):
    print(zlib.crc32(read_fer2013(source, cache).images))
    for path in cache.glob("fer2013-*.json"):
        path.unlink(missing_ok=True)
"""


def test_processes_that_start_at_once_all_read_the_right_pixels(source, cache, tmp_path):
    """Four of them build, read and remove the same entry as fast as they can."""
    data = tmp_path / "data" / "fer2013.csv"
    data.parent.mkdir()
    command = [sys.executable, "-c", READ_AGAIN_AND_AGAIN, str(data), str(cache)]
    readers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    source.rename(data)  # the starting gun
    for reader in readers:
        output, errors = reader.communicate(timeout=60)
        assert (reader.returncode, errors) == (0, "")
        assert output.split() == [str(pixel_cache.zlib.crc32(ROWS.images))] * 30
    assert not list(cache.glob(".*"))
    np.testing.assert_array_equal(read_fer2013(data, cache).images, ROWS.images)


@pytest.mark.parametrize("shape", [(5, 64, 64), (4, 32, 32, 3), (0, 48, 48)])
def test_faces_of_any_size_and_colour_are_kept(cache, tmp_path, shape):
    faces = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    entry = pixel_cache.Entry(faces, {"notes": ["x", 1]}, pixel_cache.stamp(tmp_path), "0" * 64)
    pixel_cache.store(cache, tmp_path, entry)
    found = pixel_cache.load(cache, tmp_path)
    np.testing.assert_array_equal(found.faces, faces)
    assert found[1:] == entry[1:]
