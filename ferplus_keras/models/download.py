"""Download one file: checked, and moved into place only when it is whole."""

import hashlib
import os
import sys
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from ferplus_keras.errors import InputError, one_line
from ferplus_keras.files import require_writable, sha256
from ferplus_keras.progress import progress_bar
from ferplus_keras.workspace import workspace

TIMEOUT = 30
"""Seconds without an answer or a byte after which a connection counts as cut."""

_BLOCK = 2**16  # bytes read at once


def download(
    url: str,
    destination: Path,
    *,
    digest: str = "",
    fault: Callable[[Path], str] = lambda path: "",
    timeout: float = TIMEOUT,
) -> Path:
    """Fetch a file into place, unless it is there, and return the place.

    Args:
        url: http or https; proxies are those of the environment, as urllib reads them.
        destination: the file to make; its folder is made too.
        digest: hexadecimal MD5 or SHA-256 that the file must have; empty where none is known.
        fault: from the file to what is wrong with it, an empty string for nothing.
        timeout: as `TIMEOUT`.

    Raises:
        InputError: no connection, an answer that is not such a file, or a folder or disk that
            cannot take it; names the URL and where to put the file by hand.
    """
    if os.path.exists(destination):  # also False in a folder that may not be entered
        return destination
    require_writable(destination.parent, "place by $FERPLUS_CACHE_DIR or $KERAS_HOME")
    try:
        with workspace(destination.parent) as work:
            partial = work / destination.name
            wrong = _fetch(url, partial, timeout)
            if not wrong and (kind := fault(partial)):
                wrong = f"the answer is {kind}"
            wrong = wrong or (digest and digest_fault(partial, digest))
            if not wrong:
                print(f"downloaded {url}, SHA-256 {sha256(partial)}", file=sys.stderr)
                os.replace(partial, destination)
    except OSError as error:
        wrong = f"cannot write: {error}"
    if wrong:
        raise InputError(
            f"cannot download {url} ({wrong}); put the file into {destination.parent} by hand"
        )
    return destination


def _fetch(url: str, partial: Path, timeout: float) -> str:
    """Download a file; return why that failed, or an empty string."""
    shown = {"unit": "B", "unit_scale": True, "disable": None, "desc": partial.stem}
    request = Request(url, headers={"User-Agent": "ferplus-keras"})
    try:
        with urlopen(request, timeout=timeout) as answer, partial.open("wb") as file:
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


def digest_fault(path: Path, digest: str) -> str:
    """Say that a file has another MD5 or SHA-256 than the published; an empty string if not."""
    kind = "sha256" if len(digest) == 64 else "md5"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if found == digest:
        return ""
    return f"its {kind.upper()} is {found} instead of the published {digest}"
