"""Uploaded files: read once, deleted at once."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.data.face_image import read_picture
from ferplus_keras.errors import InputError

MOST_PIXELS = 64_000_000
"""Larger pictures are refused before they are unpacked: a small file can hold a huge picture."""

LEFT_BEHIND = 600
"""Seconds after which a file that nobody asked about, of an upload broken off, is deleted."""


class Upload(NamedTuple):
    """A file that came from the browser.

    Attributes:
        path: where it lies.
        name: what it was called there.
    """

    path: Path
    name: str


@contextmanager
def private_folder() -> Iterator[Path]:
    """Yield a new folder that only this user may read; it is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="ferplus_", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def inside(path: str | Path, folder: Path) -> bool:
    """Tell whether a path leads into a folder, links and dots followed."""
    return Path(path).resolve().is_relative_to(folder.resolve())


def read_upload(upload: Upload) -> np.ndarray:
    """Return an uploaded picture as (h, w, 3) uint8 RGB and delete its file.

    Raises:
        InputError: it is not a picture, or one with more than `MOST_PIXELS`.
    """
    try:
        _refuse_huge(upload)
        return read_picture(upload.path)
    except InputError as error:
        raise InputError(str(error).replace(str(upload.path), upload.name)) from None
    finally:
        upload.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another upload lies there
            upload.path.parent.rmdir()  # its name is a hash of the file


def delete_left_behind(folder: Path) -> None:
    """Delete what has lain in a folder for longer than `LEFT_BEHIND` seconds."""
    for path in sorted(folder.rglob("*"), reverse=True):  # files before their folders
        with contextlib.suppress(OSError):  # just gone, or a folder with something in it
            if path.is_dir():
                path.rmdir()
            elif time.time() - path.stat().st_mtime > LEFT_BEHIND:
                path.unlink()


def _refuse_huge(upload: Upload) -> None:
    from PIL import Image

    too_large = f"more than {MOST_PIXELS // 10**6} million pixels; make it smaller"
    try:
        with Image.open(upload.path) as header:
            width, height = header.size
    except FileNotFoundError:
        raise InputError(f"{upload.name} is no longer there; upload it again") from None
    except Image.DecompressionBombError:
        raise InputError(f"{upload.name} has {too_large}") from None
    except (OSError, ValueError, SyntaxError):  # Pillow's words for a damaged header
        raise InputError(
            f"{upload.name} is not a picture that can be read; expected JPEG, PNG, WebP, TIFF or "
            "BMP, whole"
        ) from None
    if width * height > MOST_PIXELS:
        raise InputError(f"{upload.name} has {width} x {height}, {too_large}")
