"""What predict.py was asked about: files, folders, patterns, addresses and standard input."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ferplus_keras.data.pictures import SUFFIXES
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.inputs import plain

VIDEO_SUFFIXES = (
    *(".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpeg", ".mpg", ".wmv", ".asf", ".flv"),
    *(".3gp", ".3g2", ".mts", ".m2ts", ".ts", ".ogv", ".vob", ".mjpeg"),
)
"""Endings of the files that count as videos: what OpenCV's FFmpeg plays."""

ADDRESSES = ("rtsp://", "rtsps://", "rtmp://", "http://", "https://")
COPIED = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp", ".mp4")
"""Formats that an annotated copy keeps; others become .png and .mp4."""

Source = Path | str | int
"""A file, the address of a video, or the number of a camera."""


def find_sources(words: Sequence[str]) -> list[Path | str]:
    """Return the files and addresses that the words of a command line mean, each once, in order.

    Args:
        words: files; folders, whose pictures and videos are taken, also behind links and in
            subfolders, hidden ones not; patterns such as `photos/*.jpg` (also where the shell left
            them alone); addresses of videos; "-" reads one of these per line from standard input.

    Raises:
        InputError: a word names nothing, or a folder has neither pictures nor videos.
    """
    found: dict[Path | str, None] = {}
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="surrogateescape")  # names need not be UTF-8
    for word in words:
        for name in sys.stdin.read().splitlines() if word == "-" else [word]:
            if name.strip():
                found.update(dict.fromkeys(_files(name.strip())))
    if not found:
        raise InputError("expected at least one picture or video; standard input named none")
    return list(found)


def is_video(source: Source) -> bool:
    """Return whether a source is a video: a camera, an address, or a file by its ending."""
    return not isinstance(source, Path) or source.suffix.lower() in VIDEO_SUFFIXES


def shown_name(source: Source) -> str:
    """Return what a source is called in tables and messages: never its password."""
    if isinstance(source, int):
        return f"camera {source}"
    return str(source) if isinstance(source, Path) else re.sub(r"//[^/@]*@", "//", source)


def copy_paths(sources: Sequence[Source], folder: Path) -> dict[Source, Path]:
    """Return where the annotated copy of each source goes.

    They lie as the files lie below the folder that they share, so that equal names in different
    folders stay apart. A format that is not written is appended as another ending.

    Raises:
        UsageError: a copy would take the place of a file.
    """
    whole = {file: file.absolute() for file in sources if isinstance(file, Path)}
    shared = os.path.commonpath([path.parent for path in whole.values()]) if whole else ""
    copies = {}
    for source in sources:
        if isinstance(source, Path):
            copy = folder / whole[source].relative_to(shared)
            if copy.suffix.lower() not in COPIED:
                copy = copy.with_name(copy.name + (".mp4" if is_video(source) else ".png"))
        else:
            name = re.sub(r"\W+", "_", shown_name(source)).strip("_")
            copy = folder / f"{name}.mp4"
        copies[source] = copy
    taken = {path.resolve() for path in whole.values()}
    for copy in copies.values():
        if copy.resolve() in taken:
            raise UsageError(
                f"--save_dir: the annotated copy would overwrite {copy}; choose another folder"
            )
    return copies


def _files(name: str) -> list[Path | str]:
    if name.lower().startswith(ADDRESSES):
        return [name]
    path = Path(name)
    if path.is_dir():
        return _inside(path)
    if path.exists():
        return [plain(path)]
    for pattern in (name, name.replace("[", "[[]")):  # a folder's name may have brackets
        files = sorted(map(Path, glob.glob(pattern, recursive=True)))
        if files := [file for file in files if file.is_file()]:
            return files
    raise InputError(f"no file, folder or pattern match for {name}")


def _inside(folder: Path) -> list[Path]:
    """Return the pictures and videos in a folder; say how many other files there are."""
    known = SUFFIXES + VIDEO_SUFFIXES
    files = list(_walk(folder, set()))
    found = sorted(file for file in files if file.suffix.lower() in known)
    if not found:
        raise InputError(f"no pictures or videos in {folder} (looked for {', '.join(known)})")
    endings = [file.suffix.lower() or "without an ending" for file in files]
    others = Counter(ending for ending in endings if ending not in known).most_common(5)
    if others:
        print(
            f"note: skipped what is neither picture nor video by its ending in {folder}: "
            + ", ".join(f"{count} {ending}" for ending, count in others),
            file=sys.stderr,
        )
    return found


def _walk(folder: Path, above: set[Path]) -> Iterator[Path]:
    """Yield the files below a folder that are not hidden, links followed, but not in circles."""
    real = folder.resolve()
    if real in above:
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, above | {real})
        elif path.is_file() or path.is_symlink():  # a link to nothing is an error of its own
            yield path
