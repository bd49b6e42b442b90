"""What predict.py was asked about: files, folders, patterns and standard input, told apart."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ferplus_keras.data.face_image import SUFFIXES
from ferplus_keras.errors import InputError, UsageError

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
"""Endings of the files that count as videos."""

STANDARD_INPUT = "-"

_COPIES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp", ".mp4")
"""Formats that an annotated copy keeps; others become .png and .mp4."""


def find_sources(words: Sequence[str]) -> list[Path]:
    """Return the files that the words of a command line mean, each once, in order.

    Args:
        words: files; folders, whose pictures and videos are taken, subfolders too, hidden ones
            not; patterns such as `photos/*.jpg` (also where the shell left them alone); "-" reads
            one of these a line from standard input.

    Raises:
        InputError: a word names nothing, or a folder has neither pictures nor videos.
    """
    found: dict[Path, None] = {}
    for word in words:
        for name in sys.stdin.read().splitlines() if word == STANDARD_INPUT else [word]:
            if name.strip():
                found.update(dict.fromkeys(_files(name.strip())))
    if not found:
        raise InputError("expected at least one picture or video; standard input named none")
    return list(found)


def is_video(path: Path) -> bool:
    """Tell by its ending whether a file is a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def copy_paths(files: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Return where the annotated copy of each file goes.

    They keep their names and lie as the files lie below the folder that they share, so that equal
    names in different folders stay apart. A format that is not written is appended as another
    ending.

    Raises:
        UsageError: a copy would take the place of a file.
    """
    whole = {file: file.absolute() for file in files}
    shared = os.path.commonpath([path.parent for path in whole.values()]) if files else ""
    copies = {}
    for file, path in whole.items():
        copy = folder / path.relative_to(shared)
        if path.suffix.lower() not in _COPIES:
            copy = copy.with_name(copy.name + (".mp4" if is_video(path) else ".png"))
        copies[file] = copy
    taken = {path.resolve() for path in whole.values()}
    for copy in copies.values():
        if copy.resolve() in taken:
            raise UsageError(
                f"--save_dir: the annotated copy would overwrite {copy}; choose another folder"
            )
    return copies


def _files(name: str) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        wanted = SUFFIXES + VIDEO_SUFFIXES
        inside = (file for file in path.rglob("*") if file.suffix.lower() in wanted)
        files = sorted(file for file in inside if file.is_file() and not _hidden(file, path))
        if not files:
            raise InputError(f"no pictures or videos in {path} (looked for {', '.join(wanted)})")
        return files
    if path.exists():
        return [path]
    files = [file for file in sorted(map(Path, glob.glob(name, recursive=True))) if file.is_file()]
    if not files:
        raise InputError(f"no file, folder or pattern match for {name}")
    return files


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)
