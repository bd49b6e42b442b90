"""File formats of trained networks: every file takes raw faces and names its own classes.

To add one, write a module here with a decorated subclass of `Format` (docs/extending.md).
"""

from __future__ import annotations

import hashlib
import os
import pkgutil
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ferplus_keras.backend import refuse_fork
from ferplus_keras.errors import InputError, as_input_error
from ferplus_keras.extras import require
from ferplus_keras.files import sha256
from ferplus_keras.inputs import plain
from ferplus_keras.lazy import keras
from ferplus_keras.models.info import MEMBER, CheckpointInfo
from ferplus_keras.registry import Registry

KEY = MEMBER.removesuffix(".json")
"""Name under which an exported file carries its `CheckpointInfo`."""

Predict = Callable[[np.ndarray], ArrayLike]
"""From faces (n, s, s) uint8 to (n, C) float32 probabilities; may be called from any thread."""


class Opened(NamedTuple):
    """What a file says, its network ready to run, and the Keras network behind it, if any."""

    info: CheckpointInfo
    run: Predict
    network: keras.Model | None = None


class Format:
    """A file format of trained networks: how to open it, and how to write it if it is an export."""

    title: str  # in messages
    runs_in: str  # for readers
    suffixes: tuple[str, ...]  # endings of its files, the written one first; "" for a folder
    beside: tuple[str, ...] = ()  # endings of further files that belong to it
    runtime: tuple[str, ...] = ()  # modules that opening it needs
    modules: tuple[str, ...] = ()  # modules that writing it needs beside TensorFlow and `runtime`
    precisions: tuple[str, ...] = ()  # some of `run.PRECISIONS`; none if it is not an export
    hints: tuple[str, ...] = ()  # keywords of `Classifier.open` that its `open` takes

    @staticmethod
    def open(path: Path, **hints: str | int | None) -> Opened:
        """Open a file. Whatever it raises becomes one line that names the file."""

    @staticmethod
    def peek(path: Path) -> CheckpointInfo | None:
        """Return what a file says about itself, if that can be read without a slow runtime."""

    @staticmethod
    def write(
        model: keras.Model, info: CheckpointInfo, path: Path, precision: str, faces: np.ndarray
    ) -> None:
        """Write a network of Keras on TensorFlow, and `info`, to a path that does not exist yet.

        `faces`, (n, s, s) uint8, are those on which int8 measures its ranges.
        """


FORMATS: Registry[type[Format]] = Registry("format")
"""Every format by name."""


def find_format(path: Path) -> type[Format]:
    """Return the format of a file or folder; raises InputError if none has its ending."""
    known = {suffix: form for form in FORMATS.values() for suffix in form.suffixes}
    ending = "" if path.is_dir() else path.suffix.lower() or None
    if ending in known:
        return known[ending]
    endings = ", ".join(filter(None, known))
    raise InputError(
        f"{path} is not a model that can be run: expected {endings} or the folder of a SavedModel"
    )


def digest(path: Path) -> str:
    """Return the SHA-256 of a network's file; of several files or a folder, that of theirs."""
    beside = [path.with_suffix(suffix) for suffix in find_format(path).beside]
    parts = sorted(path.rglob("*")) if path.is_dir() else [path, *beside]
    hashes = [sha256(part) for part in parts if part.is_file()]
    return hashlib.sha256("".join(hashes).encode()).hexdigest() if hashes[1:] else hashes[0]


def open_network(path: Path, **hints: str | int | None) -> Opened:
    """Open an existing file or folder in the format of its ending.

    Raises:
        InputError: it is damaged, has no class names or not its network's, or lacks its runtime.
    """
    form = find_format(path)
    require(form.runtime, f"running {path}")
    for suffix in form.beside:
        plain(path.with_suffix(suffix))
    what = f"cannot read {path} as {form.title}"  # each runtime has its own kinds of error
    with as_input_error(what, Exception, but=(ImportError, MemoryError)):
        opened = form.open(path, **{name: hints.get(name) for name in form.hints})
        if opened.network is None:  # an export, whose file may say something else than it returns
            classes = len(opened.info.class_names)
            got = np.shape(opened.run(np.zeros((2, *opened.info.face_shape), np.uint8)))
            if got != (2, classes):
                raise InputError(f"{path} names {classes} classes, but returns {got} for two faces")
        return opened


def one_at_a_time(run: Predict, *, forks: bool = False) -> Predict:
    """Return `run` behind a lock, for runtimes that serve one thread at a time, perhaps `forks`."""
    lock, owner = threading.Lock(), os.getpid()

    def locked(faces: np.ndarray) -> ArrayLike:
        if not forks:
            refuse_fork(owner)
        with lock:
            return run(faces)

    return locked


for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
