"""Download one HDF5 file: checked, and renamed into place only when it is whole."""

import hashlib
import os
import sys
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from ferplus_keras.errors import InputError, one_line
from ferplus_keras.files import sha256
from ferplus_keras.models.hdf5 import hdf5_fault
from ferplus_keras.progress import progress_bar

_TIMEOUT = 30
"""Seconds without an answer or a byte after which a connection counts as cut."""

_BLOCK = 2**16  # bytes read at once


def download(url: str, destination: str | os.PathLike, *, digest: str = "") -> Path:
    """Fetch an HDF5 file into place, unless it is there.

    Bytes go to `<name>.partial`, which takes the destination's name once length, kind and digest
    are right. Other processes that want the same file wait for this one.

    Args:
        url: http or https; proxies are those of the environment, as urllib reads them.
        destination: the file to make; its folder is made too.
        digest: hexadecimal MD5 or SHA-256 that the file must have; empty where none is known.

    Returns:
        The destination.

    Raises:
        InputError: no connection, an answer that is not such a file, or a folder or disk that
            cannot take it; names the URL and where to put the file by hand.
    """
    from filelock import FileLock

    destination = Path(destination)
    partial = destination.with_name(destination.name + ".partial")
    fault = ""
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{destination}.lock"):
            if not destination.exists():
                fault = _fetch(url, partial) or _fault(partial, digest)
                if fault:
                    partial.unlink(missing_ok=True)
                else:
                    os.replace(partial, destination)
                    print(f"downloaded {url}, SHA-256 {sha256(destination)}", file=sys.stderr)
    except OSError as error:
        fault = f"cannot write: {error}"
    if fault:
        raise InputError(
            f"cannot download {url} ({fault}); put the file into {destination.parent} by hand"
        )
    return destination


def _fetch(url: str, partial: Path) -> str:
    """Download a file; return why that failed, or an empty string."""
    shown = {"unit": "B", "unit_scale": True, "disable": None, "desc": partial.stem}
    try:
        with urlopen(url, timeout=_TIMEOUT) as answer, partial.open("wb") as file:
            size = answer.length  # None where the server does not say it
            with progress_bar(total=size, **shown) as bar:
                while block := answer.read(_BLOCK):
                    file.write(block)
                    bar.update(len(block))
    except HTTPError as error:
        return f"HTTP {error.code} {error.reason}"
    except URLError as error:
        return f"{error.reason}"
    except (HTTPException, ConnectionError, TimeoutError) as error:
        return f"the connection broke off: {one_line(error)}"
    received = partial.stat().st_size
    cut = size not in (None, received)
    return f"the connection broke off: {received} out of {size} bytes" if cut else ""


def _fault(partial: Path, digest: str) -> str:
    """Return why this is not the file that was asked for; an empty string if it is."""
    if fault := hdf5_fault(partial):
        return f"the answer is {fault}"
    kind = "sha256" if len(digest) == 64 else "md5"
    with partial.open("rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if digest and found != digest:
        return f"its {kind.upper()} is {found} instead of the published {digest}"
    return ""
