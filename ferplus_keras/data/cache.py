"""Keep faces that were read from a file or folder, so that only the first start reads it.

An entry is two files: `<key>-<hash>.npy`, the faces, and `<key>.json`, the record, which is written
last. `<key>` comes from the path of the source, `<hash>` from its contents, so two processes that
store different contents never write to the same array. An entry that does not fit, down to one
changed byte (by CRC-32 at every start, 0.02 s for 83 MB), counts as missing. Of arrays above 512 MB
the size is compared and 256 MB or more, spread evenly over the file.
"""

import errno
import hashlib
import json
import mmap
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing
from ferplus_keras.inputs import DAMAGED_ARRAY, read_json
from ferplus_keras.workspace import workspace

_FORMAT = 5  # version of the entries; another one is rebuilt
_BLOCK, _CHECKED = 2**20, 2**28  # bytes read at once, and at least of an array at every start
_IN_MEMORY = 2**28  # bytes of faces above which they must lie, and stay, on disk


class Entry(NamedTuple):
    """What is kept of one source."""

    faces: np.ndarray  # (n, s, s) or (n, s, s, 3) uint8
    extra: dict[str, list]  # whatever else was read, small and fit for JSON
    stamp: list[int]  # of the source, as `stamp` returns it
    sha256: str  # of the source's contents


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """Return the argument, else `$FERPLUS_CACHE_DIR`, else ferplus_keras in the user's cache."""
    users = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "ferplus_keras"
    return Path(cache_dir or os.environ.get("FERPLUS_CACHE_DIR") or users).expanduser()


def stamp(path: Path) -> list[int]:
    """Return size and times of a file; the change time catches a copy with its old mtime."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def load(folder: Path, source: Path) -> Entry | None:
    """Return the entry of `source`, however old, with its faces memory-mapped; None for none."""
    with suppress(*DAMAGED_ARRAY):
        record = read_json((folder / f"{_key(source)}.json").read_text(encoding="utf-8"))
        path = folder / f"{_key(source)}-{record['sha256'][:16]}.npy"
        if record.pop("crc32") == _checksum(path, record) and record.pop("format") == _FORMAT:
            return Entry(np.load(path, mmap_mode="r", allow_pickle=False), **record)
    return None


@contextmanager
def building(folder: Path, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Yield a uint8 array to fill: a file in the folder, until the block ends or `store` keeps it.

    When the folder cannot be written, a small array is made in memory.

    Raises:
        InputError: a large one has no room in the folder.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = stack.enter_context(workspace(folder)) / "faces.npy"
            faces = new_array(path, np.uint8, shape)
        except OSError as error:
            size = np.prod(shape, dtype=np.int64)
            if size > _IN_MEMORY:
                raise InputError(
                    f"cannot keep {size / 1e9:.1f} GB of faces in the cache folder '{folder}' "
                    f"({error.strerror}); choose another --cache_dir or a smaller --face_size"
                ) from None
            faces = np.empty(shape, np.uint8)
        yield faces


def new_array(path: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    """Return a new file as an array to fill; raises OSError if there is no room for all of it."""
    if prod(shape) * np.dtype(dtype).itemsize > shutil.disk_usage(path.parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # before other runs' room is taken
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
        with path.open("r+b") as file:  # a full disk is found now, not as a crash
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def store(folder: Path, source: Path, entry: Entry) -> Entry:
    """Write `entry` as the one entry of `source` and return it as it was stored.

    Faces that are memory-mapped are in the folder already. When it cannot be written, a warning
    says so, and the faces stay in memory, read-only too.
    """
    entry.faces.flags.writeable = False
    record = entry._asdict() | {"format": _FORMAT}
    del record["faces"]
    path = folder / f"{_key(source)}-{entry.sha256[:16]}.npy"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not isinstance(entry.faces, np.memmap):
            with replacing(path) as partial, partial.open("wb") as file:
                np.save(file, entry.faces, allow_pickle=False)
        elif Path(entry.faces.filename) != path.resolve():  # of `building`
            entry.faces.flush()
            os.replace(entry.faces.filename, path)
        record["crc32"] = _checksum(path, record)
        with replacing(folder / f"{_key(source)}.json") as partial:
            partial.write_text(json.dumps(record), encoding="utf-8")
    except (OSError, InputError) as error:
        print(
            f"warning: cannot keep the pixels in the cache folder '{folder}' ({error}): "
            f"{source.name} will be read again at every start",
            file=sys.stderr,
        )
        return entry
    with suppress(OSError):  # another process may have been faster
        for older in folder.glob(f"{_key(source)}*.npy"):
            if older != path:
                older.unlink()
    return load(folder, source) or entry


def _key(source: Path) -> str:
    return f"fer2013-{hashlib.sha256(os.fsencode(source)).hexdigest()[:16]}"


def _checksum(array: Path, record: dict) -> int:
    """Return the CRC-32 of an entry's two files, the checksum itself left out."""
    size = array.stat().st_size
    faces = zlib.crc32(str(size).encode())
    with array.open("rb") as file:  # not mapped: it would fill the memory
        for begin in range(0, size, _BLOCK * max(size // _CHECKED, 1)):
            file.seek(begin)
            faces = zlib.crc32(file.read(_BLOCK), faces)
    return zlib.crc32(json.dumps(record, sort_keys=True).encode(), faces)


class FacesOnDisk:
    """Some rows of a memory-mapped array (n, …), copied into memory when they are indexed."""

    def __init__(self, faces: np.memmap, rows: np.ndarray) -> None:
        self.faces, self.rows = faces, rows
        self.dtype, self.shape, self.ndim = faces.dtype, (len(rows), *faces.shape[1:]), faces.ndim

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        found = np.asarray(self.faces).take(self.rows[index], axis=0)
        release(self.faces)
        return found

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


def take(faces: np.ndarray | FacesOnDisk, rows: np.ndarray) -> np.ndarray | FacesOnDisk:
    """Return rows (m,) int, from 0, of faces: a view where they follow one another, else a copy.

    Rows of more than 256 MB that are on disk stay there.
    """
    if isinstance(faces, FacesOnDisk):
        faces, rows = faces.faces, faces.rows[rows]
    on_disk = isinstance(faces, np.memmap) and isinstance(faces.base, mmap.mmap)  # no view of it
    if on_disk and len(rows) * faces[:1].nbytes > _IN_MEMORY:
        return FacesOnDisk(faces, rows)
    if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return faces[rows[0] : rows[0] + len(rows)]
    return faces[rows]


def release(faces: np.ndarray) -> None:
    """Let go of the pages of a mapped file: unasked, they would stay in the process's memory."""
    if isinstance(faces, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        faces._mmap.madvise(mmap.MADV_DONTNEED)
