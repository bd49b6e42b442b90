"""What files from elsewhere may not do: never end, fill the memory, or run in a spreadsheet."""

import json
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ferplus_keras.errors import InputError, as_input_error, one_line

FORMULA = "=+-@\t\r"
"""Characters at the start of a cell that make a spreadsheet run it."""

EXPANSION = 20
"""How many times larger an archive of numbers may become when it is unpacked."""

DAMAGED_ARRAY = (
    *(OSError, EOFError, SyntaxError, tokenize.TokenError, ValueError, TypeError, LookupError),
    *(AttributeError, MemoryError, OverflowError),
)
"""What NumPy raises for a file of arrays: it reads their headers as Python's literals."""


def plain(path: Path) -> Path:
    """Return a path to read from; refuse a pipe, a device or a socket, which may never end."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path} is a pipe or a device; expected a file")
    return path


def cell(path: object) -> str:
    """Return a path as a CSV cell; one that a spreadsheet would run begins with ./ instead."""
    text = str(path)
    return f"./{text}" if text.startswith((*FORMULA,)) else text


def read_json(text: str | bytes) -> Any:
    """Return the value of a JSON text; raises ValueError if it is not JSON or nested too deep."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its brackets are nested too deep") from None


def read_mapping(
    path: Path, load: Callable[[str], Any] = read_json, *errors: type[Exception]
) -> dict[str, Any]:
    """Return the mapping that `load` reads from the text of a file.

    Raises:
        InputError: it cannot be read, is damaged (`load` raises one of `errors` or a ValueError),
            or holds something else.
    """
    with as_input_error(f"cannot read {path}", OSError, ValueError, *errors):
        found = load(plain(path).read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise InputError(f"cannot read {path}: expected names with values")
    return found


@contextmanager
def open_zip(path: Path, kind: str) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive of numbers, which hardly shrink when packed; messages call it `kind`.

    Raises:
        InputError: it is no archive, is damaged, or would fill the memory when it is unpacked.
    """
    try:
        with zipfile.ZipFile(plain(path)) as archive:
            size, packed = sum(each.file_size for each in archive.infolist()), path.stat().st_size
            if size > EXPANSION * packed + 1_000_000:
                raise InputError(
                    f"{path} would unpack its {packed:,} bytes to {size:,}: it was not written by "
                    "ferplus_keras"
                )
            yield archive
    except (OSError, EOFError, RuntimeError, MemoryError, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is not {kind} ({one_line(error)}; {path.stat().st_size} bytes); was it cut "
            "short or damaged while being copied?"
        ) from None
