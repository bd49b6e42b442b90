"""Sources of predict.py: files, folders, patterns, addresses, and the frames of videos."""

import glob
import math
import os
import queue
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.backend import leaving_out
from ferplus_keras.data import pictures
from ferplus_keras.data.pictures import SUFFIXES, files_below
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.files import replacing
from ferplus_keras.inputs import plain
from ferplus_keras.lazy import cv2
from ferplus_keras.progress import say_once

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

AHEAD = 16  # most frames of a file that are decoded ahead, and that the network sees together
IN_MEMORY = 100_000_000  # bytes that they may take
CODECS = ("avc1", "mp4v")  # of annotated copies, best first: H.264 is what browsers play
NOTE = (
    "note: annotated copies have no sound{codec}. With FFmpeg: ffmpeg -i COPY -i ORIGINAL -map 0:v "
    "-map '1:a?' -c:v {encoder} NEW.mp4"
)

Frame = tuple[float, np.ndarray]
"""Seconds, and (h, w, 3) uint8 RGB."""


def find_sources(words: Sequence[str], copies: Path | None = None) -> list[Path | str]:
    """Return the files and addresses that the words of a command line mean, each once, in order.

    Args:
        words: files; folders, which stand for their pictures and videos, in subfolders and behind
            links too, but not hidden ones; patterns such as `photos/*.jpg`; addresses of videos;
            "-", which reads one of these per line from standard input.
        copies: where annotated copies go; those of an earlier run inside a folder are left out.

    Raises:
        InputError: a word names nothing, or a folder has neither pictures nor videos.
    """
    found: dict[Path | str, None] = {}
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="surrogateescape")  # names need not be UTF-8
    for word in words:
        names = [word]
        if word == "-":
            text = sys.stdin.read().removeprefix("\ufeff")
            lines = filter(str.strip, text.split("\0" if "\0" in text else "\n"))
            names = [line if os.path.lexists(line) else line.strip() for line in lines]
        for name in names:
            found.update(dict.fromkeys(_files(name, copies)))
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
    return str(source) if isinstance(source, Path) else re.sub(r"//[^/?#]*@", "//", source)


def copy_paths(sources: Sequence[Source], folder: Path) -> dict[Source, Path]:
    """Return where the annotated copy of each source goes.

    Copies keep the folder structure below the folder that the files share, so that equal names in
    different folders stay apart. A format that is not written gets .png or .mp4 added to its name.

    Raises:
        UsageError: a copy would take the place of a source or of another copy.
    """
    whole = {file: Path(os.path.abspath(file)) for file in sources if isinstance(file, Path)}
    shared = os.path.commonpath([path.parent for path in whole.values()]) if whole else ""
    copies = {}
    owners: dict[str, Source | None] = {os.path.realpath(file): None for file in whole}
    for source in sources:
        if isinstance(source, Path):
            copy = folder / whole[source].relative_to(shared)
            if copy.suffix.lower() not in COPIED:
                copy = copy.with_name(copy.name + (".mp4" if is_video(source) else ".png"))
        else:
            name = re.sub(r"\W+", "_", shown_name(source)).strip("_")
            copy = folder / f"{name}.mp4"
        copies[source] = copy
        owner = whole.get(source, source)  # a file that is named twice has one copy
        if owners.setdefault(os.path.realpath(copy), owner) != owner:
            raise UsageError(
                f"--save_dir: the annotated copy of {shown_name(source)} would overwrite {copy}; "
                "choose another folder or rename the file"
            )
    return copies


def _files(name: str, copies: Path | None) -> list[Path | str]:
    if name.lower().startswith(ADDRESSES):
        return [name]
    if not name:
        raise InputError("expected the name of a picture, a video or a folder, got an empty one")
    path = Path(name)
    if path.is_dir():
        return _inside(path, copies)
    if path.exists():
        return [plain(path)]
    made = copies and os.path.realpath(copies)
    for pattern in (name, name.replace("[", "[[]")):  # a folder's name may have brackets
        found = []
        for path in sorted(map(Path, glob.glob(pattern, recursive=True))):
            if path.is_file():
                found.append(path)
            elif path.is_dir() and "**" not in name and os.path.realpath(path) != made:
                with suppress(InputError):  # it holds neither pictures nor videos
                    found += _inside(path, copies)
        if found:
            return found
    raise InputError(f"no file, folder or pattern match for {name}")


def _inside(folder: Path, copies: Path | None) -> list[Path]:
    """Return the pictures and videos in a folder; say how many other files there are."""
    known = SUFFIXES + VIDEO_SUFFIXES
    files = list(files_below(folder))
    here, made = (Path(os.path.realpath(path)) for path in (folder, copies or folder))
    where = f"{folder}"
    if here in made.parents:
        files = [file for file in files if made not in Path(os.path.realpath(file)).parents]
        where += f" but for those in {copies}"
    found = sorted(file for file in files if file.suffix.lower() in known)
    if not found:
        raise InputError(f"no pictures or videos in {where} (looked for {', '.join(known)})")
    endings = [file.suffix.lower() or "without an ending" for file in files]
    others = Counter(ending for ending in endings if ending not in known).most_common(5)
    if others:
        counts = ", ".join(f"{count} {ending}" for ending, count in others)
        note = f"note: skipped what is neither picture nor video by its ending in {where}: {counts}"
        print(note, file=sys.stderr)
    return found


class Video(NamedTuple):
    """An open video, camera or stream."""

    name: str  # the file, address or "camera 0"
    frames: Iterator[Frame]  # to be read once
    rate: float  # frames per second, on average
    count: int  # number of frames that the file announces; 0 where it is not known
    live: bool  # whether it never ends; its frames are dropped where they come too fast
    ahead: int  # frames that are decoded ahead, and that the network sees together


def open_video(source: Source) -> Video:
    """Open a video, a camera or a stream; its frames are decoded in a thread.

    Raises:
        InputError: it cannot be opened, or has no frames or huge ones.
    """
    name = shown_name(source)
    if isinstance(source, Path) and not source.is_file():
        raise InputError(f"no video at {name}")
    # FFmpeg and OpenCV complain without naming the file; the errors below name it.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    named = _plain_name(source) if isinstance(source, Path) else nullcontext(source)
    with leaving_out(b""), named as opening:
        capture = cv2.VideoCapture(opening)
        opened = capture.isOpened()
        sides = [int(capture.get(n)) for n in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
        stretch = _stretch(capture)
        huge = math.prod((*sides, *stretch)) > pictures.MOST_PIXELS
        good, first = capture.read() if opened and not huge else (False, None)
    if not opened:
        hint = "no video, or damaged" if isinstance(source, Path) else "no answer, or no video"
        hint = "is it connected, and not in use?" if isinstance(source, int) else hint
        raise InputError(f"cannot open {name}: {hint}")
    if huge:
        raise InputError(f"cannot open {name}: {pictures.too_large(*sides)}")
    if not good:
        raise InputError(f"{name} has no frames that can be read")
    rate = capture.get(cv2.CAP_PROP_FPS)
    # Of a higher rate with many digits, MPEG-4 cannot express the inverse.
    rate = (round(rate, 1) if rate > 60 else rate) if 0 < rate <= 1000 else 25.0
    count = 0 if isinstance(source, int) else max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
    live = not isinstance(source, Path) and not count
    ahead = 1 if live else min(AHEAD, IN_MEMORY // int(first.nbytes * math.prod(stretch)) + 1)
    frames = _decoded(capture, first, stretch, rate, live, ahead)
    return Video(name, frames, rate, count, live, ahead)


def _stretch(capture) -> tuple[float, float]:
    """Return how many times as wide and as high a frame is shown, as of DVDs and camcorders."""
    wide, high = (capture.get(n) for n in (cv2.CAP_PROP_SAR_NUM, cv2.CAP_PROP_SAR_DEN))
    pixel = wide / high if wide > 0 and high > 0 else 1
    if abs(pixel - 1) < 0.02 or not 0.25 <= pixel <= 4:  # not worth resampling, or damaged
        return 1, 1
    lying = capture.get(cv2.CAP_PROP_ORIENTATION_META) % 180  # OpenCV turns the frame
    return (max(pixel, 1), max(1 / pixel, 1))[:: -1 if lying else 1]


def _decoded(
    capture, first: np.ndarray, stretch: tuple[float, float], rate: float, live: bool, ahead: int
) -> Iterator[Frame]:
    """Yield the frames of an open capture, which a thread decodes and closes."""
    motion_jpeg = capture.get(cv2.CAP_PROP_FOURCC) == cv2.VideoWriter_fourcc(*"MJPG")
    timeless = motion_jpeg and live and capture.getBackendName() == "FFMPEG"

    def moment() -> float:  # of a network camera's pictures, FFmpeg makes up 25 per second
        return time.perf_counter() if timeless else capture.get(cv2.CAP_PROP_POS_MSEC) / 1000

    waiting: queue.Queue = queue.Queue(ahead)
    stopped = threading.Event()

    def decode() -> None:
        frame, index, seconds = first, 0, 0.0
        begun = moment() if live else 0.0
        try:
            while frame is not None and not stopped.is_set():
                if live:
                    with suppress(queue.Empty):
                        waiting.get_nowait()
                stamp = moment() - begun
                seconds = stamp if stamp > seconds else max(index / rate, seconds)
                if stretch != (1, 1):
                    frame = cv2.resize(frame, None, fx=stretch[0], fy=stretch[1])
                waiting.put((seconds, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)))
                good, frame = capture.read()
                frame, index = frame if good else None, index + 1
        finally:
            capture.release()
            waiting.put(None)

    thread = threading.Thread(target=decode, daemon=True, name="decode")
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            yield item
    finally:
        stopped.set()
        while thread.is_alive():  # it may be waiting for room
            with suppress(queue.Empty):
                waiting.get(timeout=0.02)


@contextmanager
def video_writer(path: Path, rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield a function that adds a frame (h, w, 3) uint8 RGB to an .mp4 file.

    The file appears when the block succeeds. Its codec is the first of `CODECS` that can be
    written; once per process a line says what the copies lack.

    Raises:
        InputError: it cannot be written.
    """
    writer, log = None, cv2.utils.logging
    with replacing(path) as temporary, _plain_name(temporary) as name:

        def add(frame: np.ndarray) -> None:
            nonlocal writer
            writer = writer or _first_writer(name, rate, frame.shape[1::-1])
            if writer is None:
                raise InputError(f"OpenCV cannot write the video {path}")
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

        level = log.setLogLevel(2)  # else a full disk is a warning for every frame
        try:
            yield add
        finally:
            if writer:
                writer.release()
            log.setLogLevel(level)
        with leaving_out(b""):  # OpenCV does not say that the disk is full
            cut_off = writer and not cv2.VideoCapture(name).isOpened()
        if cut_off:
            raise InputError(f"cannot write {path}: the video is cut off; is the disk full?")


def _first_writer(name: str, rate: float, size: tuple[int, int]):
    """Return an open cv2.VideoWriter with the first codec that works, or None."""
    for codec in CODECS:
        with leaving_out(b""):  # FFmpeg's complaints about missing encoders
            writer = cv2.VideoWriter(name, cv2.VideoWriter_fourcc(*codec), rate, size)
        if writer.isOpened():
            h264 = codec == CODECS[0]
            lacks = "" if h264 else ", and browsers do not play them: OpenCV has no H.264 here"
            encoder = "copy" if h264 else "libx264 -pix_fmt yuv420p"
            say_once(NOTE.format(codec=lacks, encoder=encoder))
            return writer
    return None


@contextmanager
def _plain_name(path: Path) -> Iterator[str]:
    """Yield a name of a file that OpenCV takes: a link where its own is not UTF-8."""
    name = str(path.absolute())  # FFmpeg takes 10:30.mp4 for the address of a protocol "10"
    try:
        name.encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder) / f"video{path.suffix}"
            link.symlink_to(name)
            yield str(link)
    else:
        yield name
