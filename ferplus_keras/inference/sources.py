"""What predict.py was asked about: files, folders, patterns and standard input, told apart."""

from __future__ import annotations

import glob
import sys
from collections.abc import Sequence
from pathlib import Path

from ferplus_keras.errors import InputError
from ferplus_keras.inference.images import SUFFIXES

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
"""Endings of the files that count as videos."""

STANDARD_INPUT = "-"


def find_sources(words: Sequence[str]) -> list[Path]:
    """Return the files that the words of a command line mean, each once, in order.

    Args:
        words: files; folders, whose images and videos are taken, subfolders too; patterns such as
            `photos/*.jpg` (also where the shell left them alone); "-" reads one path a line from
            standard input.

    Raises:
        InputError: a word names nothing, or a folder has neither images nor videos.
    """
    found: dict[Path, None] = {}
    for word in words:
        for name in sys.stdin.read().splitlines() if word == STANDARD_INPUT else [word]:
            if name.strip():
                found.update(dict.fromkeys(_files(name.strip())))
    if not found:
        raise InputError("expected at least one image; standard input named none")
    return list(found)


def is_video(path: Path) -> bool:
    """Tell by its ending whether a file is a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def _files(name: str) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        wanted = SUFFIXES + VIDEO_SUFFIXES
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in wanted)
        if not files:
            raise InputError(f"no images or videos in {path} (looked for {', '.join(wanted)})")
        return files
    if path.exists():
        return [path]
    matching = sorted(map(Path, glob.glob(name, recursive=True)))
    if not matching:
        raise InputError(f"no file, folder or pattern match for {name}")
    return [file for file in matching if file.is_file()]
