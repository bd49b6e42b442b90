"""Folders in which files are made before they are moved to their place, and locks."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where nothing is swept or locked
    fcntl = None

WORK = ".partial-"
"""Start of the name of a folder in which something is written before it is moved to its place."""

LOCK, NEW = ".lock", os.O_RDWR | os.O_CREAT  # NFS tells other machines of locks on files only


@contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """Yield a new folder within `folder`, locked, and removed at the end.

    Folders that killed processes left behind are removed first, once per process, after what they
    had moved into `old` is put back.
    """
    _sweep(folder.resolve())
    held = None
    while held is None:
        work = Path(tempfile.mkdtemp(prefix=WORK, dir=folder))
        held = lock(work / LOCK, NEW)  # None if another process has just swept it away
    try:
        yield work
    finally:
        os.close(held)  # first: NFS keeps what is open
        shutil.rmtree(work, ignore_errors=True)


@cache
def _sweep(folder: Path) -> None:
    for work in folder.glob(f"{WORK}*") if fcntl else ():  # else the living look like the dead
        with suppress(OSError):
            if (held := lock(work / LOCK, NEW)) is not None:
                try:
                    put_back(work, folder)
                    shutil.rmtree(work)
                finally:
                    os.close(held)


def put_back(work: Path, folder: Path) -> None:
    """Move what was moved from `folder` to work/old back to where nothing has taken its place."""
    for path in (work / "old").glob("*"):
        if not (folder / path.name).exists():
            os.replace(path, folder / path.name)


def lock(path: Path, flags: int = os.O_RDONLY) -> int | None:
    """Return a locked descriptor of a file or folder, opened with flags as `os.open` takes them.

    None if it is gone or another process holds it. Child processes inherit the lock, and the
    operating system frees it when the last holder has ended, however it ends.
    """
    if fcntl is None:
        return os.open(os.devnull, os.O_RDONLY)
    with suppress(FileNotFoundError):
        held = os.open(path, flags, 0o666)
        with suppress(FileNotFoundError, BlockingIOError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(held), path.stat()):
                return held
        os.close(held)
    return None
