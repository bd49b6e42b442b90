"""Download one HDF5 file: resumable, checked, and renamed into place only when it is whole."""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from ferplus_keras.errors import InputError

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""The first eight bytes of every HDF5 file."""

_TIMEOUT = 30
"""Seconds without an answer or a byte after which a connection counts as cut."""

_CHUNK = 1 << 18
"""Bytes asked for at a time."""


class _Failed(Exception):
    """The file cannot be had from this address."""


class _Cut(_Failed):
    """The connection failed in a way that another attempt may put right."""


class _Unreachable(_Cut):
    """No connection could be made."""


def download(
    url: str,
    destination: str | os.PathLike,
    *,
    md5: str = "",
    progress: bool = True,
    attempts: int = 4,
    retry_wait: float = 1.0,
) -> Path:
    """Fetch an HDF5 file into place, unless it is there.

    Bytes go to `<name>.partial`, which takes the destination's name once its length and its first
    eight bytes are right. A cut connection is taken up where it broke off if the server can do
    that and its file is still the same; what has come so far stays for the next call. Other
    processes that want the same file wait for this one.

    Args:
        url: http or https; proxies are those of the environment, as urllib reads them.
        destination: the file to make; its folder is made too.
        md5: hexadecimal MD5 that the whole file must have; empty where none is known.
        progress: show a progress bar on standard error.
        attempts: connections in a row that may bring nothing new, once the server was reached.
        retry_wait: seconds to wait before the next attempt; doubled as long as nothing new comes.

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
                _fetch_whole(url, partial, progress, attempts, retry_wait)
                _check_md5(partial, md5)
                os.replace(partial, destination)
                _origin(partial).unlink(missing_ok=True)
    except (_Failed, OSError) as error:
        reason = error if isinstance(error, _Failed) else f"cannot write: {error}"
        raise InputError(
            f"cannot download {url} ({reason}); put the file into {destination.parent} by hand"
        ) from error
    return destination


def _fetch_whole(url: str, partial: Path, progress: bool, attempts: int, wait: float) -> None:
    """Connect until the file is whole, giving up when nothing new comes any more."""
    best = _size(partial)
    failures = 0
    reached = False
    while True:
        try:
            with _connect(url, partial) as response:
                _receive(response, partial, progress)
            return
        except _Cut as error:
            reached = reached or not isinstance(error, _Unreachable)
            failures = 0 if _size(partial) > best else failures + 1
            best = max(best, _size(partial))
            # A server that was never reached is not waited for: most likely there is no network.
            if failures >= attempts or not reached:
                raise
            time.sleep(wait * 2**failures)


def _check_md5(partial: Path, expected: str) -> None:
    """Throw the file away if it is whole but not the published one."""
    if not expected:
        return
    with partial.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != expected:
        partial.unlink()
        _origin(partial).unlink()
        raise _Failed(f"its MD5 is {found} instead of the published {expected}")


def _connect(url: str, partial: Path) -> HTTPResponse:
    """Open the URL from where the partial file ends, or from its start if that is not known."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "ferplus-keras"}
    origin = _read_origin(partial)
    if origin and _size(partial):
        headers["Range"] = f"bytes={_size(partial)}-"
        if origin["validator"]:
            headers["If-Range"] = origin["validator"]
    try:
        return urlopen(Request(url, headers=headers), timeout=_TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == 416:  # the partial file is no beginning of the server's
            partial.unlink(missing_ok=True)
        passing = error.code >= 500 or error.code in (408, 416, 429)
        raise (_Cut if passing else _Failed)(f"HTTP {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise _Unreachable(getattr(error, "reason", error)) from error


def _receive(response: HTTPResponse, partial: Path, progress: bool) -> None:
    """Write or append the answer to the partial file.

    Raises:
        _Cut: it ended early.
        _Failed: it is not HDF5; nothing of it was written.
        OSError: the partial file cannot be written.
    """
    from tqdm import tqdm

    resumed = response.status == 206
    start = _size(partial) if resumed else 0
    length = response.headers.get("Content-Length")
    total = start + int(length) if length else None
    if resumed:
        expected = f"bytes {start}-{total - 1 if total else ''}/{_read_origin(partial)['total']}"
        if response.headers.get("Content-Range") != expected:
            partial.unlink()
            raise _Cut("the file changed on the server")

    chunks = _chunks(response)
    first = b"" if resumed else next(chunks, b"")
    if first != _SIGNATURE[: len(first)]:
        kind = response.headers.get("Content-Type", "something else")
        raise _Failed(f"the answer is not an HDF5 file but {kind}")

    with (
        partial.open("ab" if resumed else "wb") as file,
        tqdm(
            desc=partial.stem,
            initial=start,
            total=total,
            unit="B",
            unit_scale=True,
            disable=not progress,
        ) as bar,
    ):
        if not resumed:
            _write_origin(partial, response, total)
        file.write(first)
        bar.update(len(first))
        for chunk in chunks:
            file.write(chunk)
            bar.update(len(chunk))

    size = _size(partial)
    if size < len(_SIGNATURE) or (total is not None and size < total):
        whole = "an unknown number" if total is None else f"{total:,}"
        raise _Cut(f"the connection broke off after {size:,} of {whole} bytes")


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    """Yield the body, the first eight bytes on their own."""
    try:
        yield response.read(len(_SIGNATURE))
        while chunk := response.read1(_CHUNK):
            yield chunk
    except (OSError, HTTPException) as error:
        raise _Cut(str(error) or type(error).__name__) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _origin(partial: Path) -> Path:
    """Return where it is noted which version of the server's file a partial one began as."""
    return partial.with_name(partial.name + ".origin")


def _read_origin(partial: Path) -> dict:
    try:
        return json.loads(_origin(partial).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


def _write_origin(partial: Path, response: HTTPResponse, total: int | None) -> None:
    etag = response.headers.get("ETag", "")
    # A weak ETag may stand for different bytes: If-Range does not take it (RFC 9110, 13.1.5).
    strong = etag if etag and not etag.startswith("W/") else None
    validator = strong or response.headers.get("Last-Modified")
    text = json.dumps({"validator": validator, "total": total})
    _origin(partial).write_text(text, encoding="utf-8")
