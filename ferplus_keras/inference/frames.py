"""Frames of videos, cameras and streams, in and out."""

from __future__ import annotations

import math
import os
import queue
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.backend import leaving_out
from ferplus_keras.data import pictures
from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing
from ferplus_keras.inference.detectors import say_once
from ferplus_keras.inference.sources import Source, shown_name

AHEAD = 16  # frames of a file that are decoded before they are asked for, at most
CODECS = ("avc1", "mp4v")  # of annotated copies, best first: H.264 is what browsers play
NOTE = (
    "note: annotated copies have no sound{codec}. With FFmpeg: ffmpeg -i COPY -i ORIGINAL -map 0:v "
    "-map '1:a?' -c:v {encoder} NEW.mp4"
)

Frame = tuple[float, np.ndarray]
"""Seconds, and (h, w, 3) uint8 RGB."""


class Video(NamedTuple):
    """An open video, camera or stream."""

    name: str  # the file, address or "camera 0"
    frames: Iterator[Frame]  # to be read once
    rate: float  # frames per second, on average
    count: int  # number of frames that the file announces; 0 where it is not known
    live: bool  # whether it has no end, and frames are dropped that nobody has time for


def open_video(source: Source) -> Video:
    """Open a video, a camera or a stream; its frames are decoded in a thread.

    Raises:
        InputError: it cannot be opened, or has no frames or huge ones.
    """
    import cv2

    name = shown_name(source)
    if isinstance(source, Path) and not source.is_file():
        raise InputError(f"no video at {name}")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg's words would name no file
    plain = _plain_name(source) if isinstance(source, Path) else nullcontext(source)
    with leaving_out(b""), plain as opening:  # OpenCV's neither; the line below says it
        capture = cv2.VideoCapture(opening)
        opened = capture.isOpened()
        sides = [int(capture.get(n)) for n in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
        huge = math.prod(sides) > pictures.MOST_PIXELS
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
    rate = rate if 1 <= rate <= 1000 else 25.0
    count = 0 if isinstance(source, int) else max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
    live = not isinstance(source, Path) and not count
    return Video(name, _decoded(capture, first, rate, live), rate, count, live)


def _decoded(capture, first: np.ndarray, rate: float, live: bool) -> Iterator[Frame]:
    """Yield the frames of an open capture, which a thread decodes and closes."""
    import cv2

    waiting: queue.Queue = queue.Queue(1 if live else AHEAD)
    stopped = threading.Event()

    def decode() -> None:
        frame, index, seconds = first, 0, 0.0
        begun = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 if live else 0.0
        try:
            while frame is not None and not stopped.is_set():
                if live:
                    with suppress(queue.Empty):
                        waiting.get_nowait()
                stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 - begun
                seconds = stamp if stamp > seconds else max(index / rate, seconds)
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
    import cv2

    writer = None
    with replacing(path) as temporary, _plain_name(temporary) as name:

        def add(frame: np.ndarray) -> None:
            nonlocal writer
            writer = writer or _first_writer(name, rate, frame.shape[1::-1])
            if writer is None:
                raise InputError(f"OpenCV cannot write the video {path}")
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

        try:
            yield add
        finally:
            if writer:
                writer.release()


def _first_writer(name: str, rate: float, size: tuple[int, int]):
    """Return an open cv2.VideoWriter with the first codec that works, or None."""
    import cv2

    for codec in CODECS:
        with leaving_out(b""):  # FFmpeg's words about encoders that are not there
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
    try:
        str(path).encode()
        yield str(path)
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder) / f"video{path.suffix}"
            link.symlink_to(path.absolute())
            yield str(link)
