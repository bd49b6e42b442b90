"""Folders in which files are made before they are moved to their place."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where nothing is swept
    fcntl = None

WORK = ".partial-"
"""Start of the name of a folder in which something is written before it is moved to its place."""


@contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """Yield a new folder within `folder`, locked and removed at the end.

    What killed processes left of theirs is removed first, once per process. What they had moved
    into `old` is put back.
    """
    _sweep(folder.resolve())
    lock = None
    while lock is None:
        work = Path(tempfile.mkdtemp(prefix=WORK, dir=folder))
        lock = _lock(work)  # None if another process has just swept it away
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(lock)


@cache
def _sweep(folder: Path) -> None:
    for work in folder.glob(f"{WORK}*"):
        if (lock := _lock(work)) is not None:
            with suppress(OSError):
                put_back(work, folder)
                shutil.rmtree(work)
            os.close(lock)


def put_back(work: Path, folder: Path) -> None:
    """Move what was moved from `folder` to work/old back to where nothing has taken its place."""
    for path in (work / "old").glob("*"):
        if not (folder / path.name).exists():
            os.replace(path, folder / path.name)


def _lock(work: Path) -> int | None:
    """Return a locked descriptor of a folder; None if it is gone or another process holds it."""
    if fcntl is None:
        return os.open(os.devnull, os.O_RDONLY)
    with suppress(OSError):
        lock = os.open(work, os.O_RDONLY)
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), work.stat()):
                return lock
        os.close(lock)
    return None
