"""YuNet's file: found on this machine, or fetched once and checked."""

from __future__ import annotations

import argparse
import hashlib
import os
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

from ferplus_keras.data.cache import cache_folder
from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing, require_writable

YUNET = "face_detection_yunet_2023mar.onnx"
YUNET_BYTES = 232_589
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
YUNET_URL = (
    "https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/"
    f"face_detection_yunet/{YUNET}"
)
"""OpenCV's model zoo (MIT licence); the file lies in Git LFS."""

TIMEOUT = 5  # seconds without an answer after which the server counts as out of reach


def find_yunet(fetch: bool = True) -> Path:
    """Return YuNet's file, from `$FERPLUS_WEIGHTS_DIR` or the cache folder, else fetched to it.

    Raises:
        InputError: it may not or cannot be fetched, or is another file than the published one.
    """
    own = os.environ.get("FERPLUS_WEIGHTS_DIR")
    try:
        cache = cache_folder()
    except RuntimeError:  # a user without home
        cache = None
    for folder in filter(None, (own and Path(own), cache)):
        if (folder / YUNET).is_file():
            _check((folder / YUNET).read_bytes(), str(folder / YUNET))
            return folder / YUNET
    if not fetch:
        raise InputError(f"{YUNET} is not here; python -m ferplus_keras fetch downloads it")
    if cache is None:
        raise InputError("no home folder to keep YuNet's file in: set $FERPLUS_CACHE_DIR")
    try:
        request = Request(YUNET_URL, headers={"User-Agent": "ferplus-keras"})
        with urlopen(request, timeout=TIMEOUT) as response:
            content = response.read(YUNET_BYTES + 1)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"cannot download {YUNET_URL} ({reason}); put the file into {own or cache} by hand"
        ) from None
    _check(content, YUNET_URL)
    require_writable(cache, "place by $FERPLUS_CACHE_DIR")
    with replacing(cache / YUNET) as temporary:
        temporary.write_bytes(content)
    return cache / YUNET


def _check(content: bytes, where: str) -> None:
    if hashlib.sha256(content).hexdigest() != YUNET_SHA256:
        size = f"{'more than ' * (len(content) > YUNET_BYTES)}{min(len(content), YUNET_BYTES):,}"
        raise InputError(
            f"{where} is not YuNet's published file: got {size} bytes, expected {YUNET_BYTES:,} "
            f"with SHA-256 {YUNET_SHA256}"
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the description of `fetch`."""
    parser.description = (
        "Fetch what predicting needs beside the package: YuNet's file, once, checked. "
        "Afterwards everything works offline."
    )


def fetch(arguments: argparse.Namespace) -> None:
    """Run `python -m ferplus_keras fetch`.

    Raises:
        InputError: as `find_yunet`.
    """
    print(find_yunet())
