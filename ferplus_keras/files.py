"""Files written whole, under a temporary name and then renamed, and what identifies a file."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ferplus_keras.errors import InputError
from ferplus_keras.workspace import workspace


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_writable(folder: Path, setting: str) -> None:
    """Make `folder` if need be; raises InputError, which names the flag `setting`, if it cannot."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror}; choose another {setting}"
        ) from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path of the same name; move it to `path` when the block succeeds.

    When the block fails the temporary file is removed and `path` stays as it was. A symbolic link
    stays one: the file that it names is replaced. To a pipe or a device the file is copied.

    Raises:
        InputError: the disk is full, or the file may not be written.
    """
    try:
        target = behind_links(path)
        if target is None:
            with tempfile.TemporaryDirectory() as folder:
                temporary = Path(folder) / path.name
                yield temporary
                with temporary.open("rb") as source, path.open("ab") as sink:
                    shutil.copyfileobj(source, sink)
        else:
            with workspace(target.parent) as folder:
                yield folder / target.name
                os.replace(folder / target.name, target)
    except BrokenPipeError:
        raise  # of a reader that has gone, such as `head`
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def behind_links(path: Path) -> Path | None:
    """Return the file that is to be replaced; None for a pipe, a device or what a process holds."""
    if path.exists() and not path.is_file():
        return None
    for _ in range(40):  # as many links as Linux follows
        path = Path(os.path.realpath(path.parent)) / path.name
        if path.is_relative_to("/proc"):  # /dev/stdout and its like
            return None
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return path


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write a JSON file whole; raises what `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
