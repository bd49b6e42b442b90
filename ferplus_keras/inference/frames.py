"""Frames of videos and cameras, in and out."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.backend import leaving_out
from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing

AHEAD = 16
"""Frames of a file that are decoded before they are asked for, at most."""


class Video(NamedTuple):
    """An open video or camera.

    Attributes:
        name: the file, or "camera 0".
        frames: (h, w, 3) uint8 RGB each; to be read once.
        rate: frames a second.
        count: number of frames; 0 where it is not known.
    """

    name: str
    frames: Iterator[np.ndarray]
    rate: float
    count: int


def open_video(source: int | Path) -> Video:
    """Open a video or a camera; its frames are decoded in a thread.

    A file waits for its reader; of a camera, frames that nobody had time for are dropped.

    Args:
        source: file, or number of a camera.

    Raises:
        InputError: it cannot be opened or has no frames.
    """
    import cv2

    camera = isinstance(source, int)
    name = f"camera {source}" if camera else str(source)
    if not camera and not source.is_file():
        raise InputError(f"no video at {name}")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg's words would name no file
    with leaving_out(b""):  # OpenCV's neither; the line below says it
        capture = cv2.VideoCapture(source if camera else str(source))
        opened = capture.isOpened()
        good, first = capture.read() if opened else (False, None)
    if not opened:
        raise InputError(
            f"cannot open {name}: "
            + ("is it connected, and not in use?" if camera else "no video, or damaged")
        )
    if not good:
        raise InputError(f"{name} has no frames that can be read")
    rate = capture.get(cv2.CAP_PROP_FPS)
    count = 0 if camera else max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
    frames = _decoded(capture, first, drop=camera)
    return Video(name, frames, rate if 1 <= rate <= 1000 else 25.0, count)


def _decoded(capture, first: np.ndarray, drop: bool) -> Iterator[np.ndarray]:
    """Yield the frames of an open capture, which a thread decodes and closes."""
    import cv2

    waiting: queue.Queue = queue.Queue(1 if drop else AHEAD)
    stopped = threading.Event()

    def decode() -> None:
        frame = first
        try:
            while frame is not None and not stopped.is_set():
                if drop:
                    with suppress(queue.Empty):
                        waiting.get_nowait()
                waiting.put(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
                good, frame = capture.read()
                frame = frame if good else None
        finally:
            capture.release()
            waiting.put(None)

    thread = threading.Thread(target=decode, daemon=True, name="decode")
    thread.start()
    try:
        while (frame := waiting.get()) is not None:
            yield frame
    finally:
        stopped.set()
        while thread.is_alive():  # it may be waiting for room
            with suppress(queue.Empty):
                waiting.get(timeout=0.02)


@contextmanager
def video_writer(path: Path, rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield a function that adds a frame (h, w, 3) uint8 RGB to an .mp4 file.

    The file appears when the block succeeds.

    Raises:
        InputError: it cannot be written.
    """
    import cv2

    made: list = []
    with replacing(path) as temporary:

        def add(frame: np.ndarray) -> None:
            if not made:
                code = cv2.VideoWriter_fourcc(*"mp4v")
                made.append(cv2.VideoWriter(str(temporary), code, rate, frame.shape[1::-1]))
                if not made[0].isOpened():
                    raise InputError(f"OpenCV cannot write the video {path}")
            made[0].write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

        try:
            yield add
        finally:
            for writer in made:
                writer.release()
