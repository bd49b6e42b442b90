"""Keep the parsed pixels of fer2013.csv on disk, so that only the first start reads the text.

An entry belongs to one source path and is two files in the cache folder: `<key>-<hash>.npy`, the
faces (n, 48, 48) uint8, and `<key>.json`, the record, which holds everything else and is written
last. `<key>` comes from the path, `<hash>` from the contents of the source, so two processes that
store different contents never write to the same array. Both files are written under a name of
their own and renamed; a new entry takes the place of the old one.

What is noticed, and leads to a rebuild: a record that is missing, unreadable, of another format
version or of another source; an array that is missing, truncated, longer than it should be, of
another shape or type; and any changed byte in the faces, emotions or usages, by CRC-32 of all of
them at every start (0.02 s for 83 MB).
"""

import hashlib
import json
import os
import secrets
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from ferplus_keras.data.fer_rows import FaceRows
from ferplus_keras.emotions import FACE_SIZE

FORMAT = 1
"""Version of the entries; another one is rebuilt."""

_ABANDONED_AFTER_SECONDS = 3600


class Stamp(NamedTuple):
    """What tells without reading it that a file is still the same."""

    size: int
    mtime_ns: int
    ctime_ns: int


class Entry(NamedTuple):
    """The parsed rows of one file, the state the file was in, and the hash of its bytes."""

    rows: FaceRows
    stamp: Stamp
    sha256: str


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """Return the cache folder: the argument, else `$FERPLUS_CACHE_DIR`, else the user's own.

    The user's own is `$XDG_CACHE_HOME/ferplus_keras`, or `~/.cache/ferplus_keras`.
    """
    if cache_dir or os.environ.get("FERPLUS_CACHE_DIR"):
        return Path(cache_dir or os.environ["FERPLUS_CACHE_DIR"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ferplus_keras"


def stamp(path: Path) -> Stamp:
    """Return size and times of a file; the change time catches a copy with its old mtime."""
    status = path.stat()
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def load(folder: Path, source: Path) -> Entry | None:
    """Return the entry of `source` with its faces memory-mapped, None when there is no sound one.

    The caller compares the entry's stamp or hash with the file as it is now.
    """
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError):
        record = json.loads(_record_path(folder, source).read_text(encoding="utf-8"))
        if record["format"] != FORMAT or record["source"] != str(source):
            return None
        array_path = _array_path(folder, source, record["sha256"])
        rows = FaceRows(
            np.load(array_path, mmap_mode="r", allow_pickle=False),
            _codes(record["emotions"]).astype(np.int8),
            _codes(record["usage"]),
        )
        if (
            rows.images.dtype == np.uint8
            and rows.images.shape == (record["rows"], FACE_SIZE, FACE_SIZE)
            and rows.images.flags.c_contiguous
            and array_path.stat().st_size == rows.images.offset + rows.images.nbytes
            and _checksums(rows) == record["crc32"]
        ):
            return Entry(rows, Stamp(**record["stamp"]), record["sha256"])
    return None


def store(folder: Path, source: Path, entry: Entry) -> None:
    """Write `entry` as the one entry of `source`.

    Raises:
        OSError: the folder cannot be written, or the disk is full. Nothing half-written stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    array_path = _array_path(folder, source, entry.sha256)
    _write_whole(array_path, lambda file: np.save(file, entry.rows.images, allow_pickle=False))
    store_record(folder, source, entry)
    _remove_leftovers(folder, source, keep=array_path)


def store_record(folder: Path, source: Path, entry: Entry) -> None:
    """Write only the record of `entry`, whose faces are stored already.

    Raises:
        OSError: as `store`.
    """
    record = {
        "format": FORMAT,
        "source": str(source),
        "stamp": entry.stamp._asdict(),
        "sha256": entry.sha256,
        "rows": len(entry.rows.images),
        "crc32": _checksums(entry.rows),
        "emotions": _text(entry.rows.emotions),
        "usage": _text(entry.rows.usage),
    }
    text = json.dumps(record, indent=1).encode()
    _write_whole(_record_path(folder, source), lambda file: file.write(text))


def _key(source: Path) -> str:
    return f"fer2013-{hashlib.sha256(os.fsencode(source)).hexdigest()[:16]}"


def _record_path(folder: Path, source: Path) -> Path:
    return folder / f"{_key(source)}.json"


def _array_path(folder: Path, source: Path, sha256: str) -> Path:
    return folder / f"{_key(source)}-{sha256[:16]}.npy"


def _write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        with unfinished.open("xb") as file:
            write(file)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _remove_leftovers(folder: Path, source: Path, keep: Path) -> None:
    """Remove older arrays of `source`, and unfinished files whose writer must have died."""
    long_ago = time.time() - _ABANDONED_AFTER_SECONDS
    for path in folder.glob(f"{_key(source)}*"):
        with suppress(OSError):  # another process may have been faster
            is_older_array = path.suffix == ".npy" and path != keep
            is_abandoned = path.suffix == ".partial" and path.stat().st_mtime < long_ago
            if is_older_array or is_abandoned:
                path.unlink()


def _checksums(rows: FaceRows) -> dict[str, int]:
    return {name: zlib.crc32(array) for name, array in rows._asdict().items()}


def _text(codes: np.ndarray) -> str:
    """Write numbers from 0 to 9 as one string of digits."""
    return (codes.astype(np.uint8) + ord("0")).tobytes().decode("ascii")


def _codes(text: str) -> np.ndarray:
    """Read what `_text` has written, (n,) uint8."""
    return np.frombuffer(text.encode("ascii"), np.uint8) - np.uint8(ord("0"))
