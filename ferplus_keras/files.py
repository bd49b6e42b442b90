"""Files written whole, under a temporary name and then renamed, and what identifies a file."""

import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ferplus_keras.errors import InputError


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_writable(folder: Path, setting: str) -> None:
    """Make `folder` if need be and refuse it when nothing can be written there.

    Args:
        folder: where results are to go.
        setting: flag that chooses another folder.

    Raises:
        InputError: the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror}; choose another {setting}"
        ) from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block succeeds.

    When the block fails the temporary file is removed and `path` stays as it was. The temporary
    name keeps the suffix, because writers choose a format by it.

    Args:
        path: file to write; its folder exists.

    Raises:
        InputError: the disk is full, or the file may not be written.
    """
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.partial{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write a JSON file whole; raises what `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
