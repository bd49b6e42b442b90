"""Download one HDF5 file: checked, and renamed into place only when it is whole."""

import hashlib
import os
import socket
import sys
from contextlib import redirect_stdout
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from ferplus_keras.errors import InputError
from ferplus_keras.files import sha256
from ferplus_keras.models.hdf5 import hdf5_fault

_TIMEOUT = 30
"""Seconds without an answer or a byte after which a connection counts as cut."""


def download(url: str, destination: str | os.PathLike, *, digest: str = "") -> Path:
    """Fetch an HDF5 file into place with `keras.utils.get_file`, unless it is there.

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
    from keras.utils import get_file

    usual = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    folder = str(partial.parent.resolve())
    try:
        # Keras draws its progress bar on standard output; in a log it would be thousands of lines.
        with (
            open(os.devnull, "w") as nowhere,
            redirect_stdout(sys.stderr if sys.stderr.isatty() else nowhere),
        ):
            get_file(partial.name, url, cache_subdir=folder, force_download=True)
    except (HTTPException, ConnectionError, TimeoutError) as error:
        return f"the connection broke off: {error}"
    except OSError:
        raise
    except Exception as error:  # Keras wraps urllib's errors, which say more, in a plain Exception
        cause = error.__context__ or error
        code = f"HTTP {cause.code} " if isinstance(cause, HTTPError) else ""
        return f"{code}{getattr(cause, 'reason', cause)}"
    finally:
        socket.setdefaulttimeout(usual)
    return ""


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
