"""Video: decoded in a thread, faces detected now and then and followed in between."""

from __future__ import annotations

import csv
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing
from ferplus_keras.inference.annotate import annotate
from ferplus_keras.inference.faces import crop_face
from ferplus_keras.inference.predictor import Prediction, Predictor
from ferplus_keras.progress import progress_bar

SMOOTHING = 0.6
"""Share of the earlier probabilities in a track's running mean."""

SAME_FACE = 0.3
"""Smallest intersection over union at which a detected face goes on with a track."""

CHUNK = 16
"""Frames whose faces the network sees together."""


@dataclass
class Track:
    """One face through the frames.

    Attributes:
        number: counted from 0 in the order of appearance.
        box: where it was last, x, y, width, height.
        template: what it looked like there, grey.
        probabilities: running mean, (C,), None before the first.
    """

    number: int
    box: tuple[float, float, float, float]
    template: np.ndarray
    probabilities: np.ndarray | None = None


@dataclass
class Tracker:
    """Follows faces between detections by matching what they looked like.

    Attributes:
        tracks: the faces of the frame last seen.
        seen: faces seen so far.
    """

    tracks: list[Track] = field(default_factory=list)
    seen: int = 0

    def detected(self, grey: np.ndarray, boxes: list[tuple]) -> list[Track]:
        """Take over what a detector found; a face that overlaps a track's box goes on with it."""
        left, tracks = list(self.tracks), []
        for box in boxes:
            before = max(left, key=lambda track: overlap(track.box, box), default=None)
            if before is not None and overlap(before.box, box) >= SAME_FACE:
                left.remove(before)
                track = Track(before.number, box, _patch(grey, box), before.probabilities)
            else:
                track = Track(self.seen, box, _patch(grey, box))
                self.seen += 1
            tracks.append(track)
        self.tracks = tracks
        return tracks

    def follow(self, grey: np.ndarray) -> list[Track]:
        """Find each face near where it was; one that looks different is given up."""
        self.tracks = [track for track in self.tracks if self._moved(track, grey)]
        return self.tracks

    def _moved(self, track: Track, grey: np.ndarray) -> bool:
        import cv2

        x, y, width, height = track.box
        reach = 0.25
        area = _patch(
            grey,
            (x - reach * width, y - reach * height, width * 1.5, height * 1.5),
            TEMPLATE * 3 // 2,
        )
        match = cv2.matchTemplate(area, track.template, cv2.TM_CCOEFF_NORMED)
        _, best, _, (right, down) = cv2.minMaxLoc(match)
        if not best > 0.5:
            return False
        middle = (area.shape[0] - TEMPLATE) / 2
        moved_x = (right - middle) * width / TEMPLATE
        moved_y = (down - middle) * height / TEMPLATE
        track.box = (x + moved_x, y + moved_y, width, height)
        track.template = _patch(grey, track.box)
        return True


TEMPLATE = 32
"""Side to which a followed face is brought, in pixels."""


def _patch(grey: np.ndarray, box: tuple, side: int = TEMPLATE) -> np.ndarray:
    """Return what is inside a box as (side, side) uint8, the picture's edge repeated."""
    import cv2

    x, y, width, height = box
    matrix = np.array([[width / side, 0, x], [0, height / side, y]], np.float32)
    return cv2.warpAffine(
        grey,
        matrix,
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def overlap(one: tuple, other: tuple) -> float:
    """Return the intersection of two boxes (x, y, width, height) over their union."""
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(wide, 0) * max(high, 0)
    return common / max(one[2] * one[3] + other[2] * other[3] - common, 1e-9)


def frames_of(source: int | Path, ahead: int = 64) -> tuple[Iterator[np.ndarray], float, int]:
    """Open a video or a camera and decode it in a thread.

    Args:
        source: file, or number of a camera.
        ahead: frames decoded before they are asked for, at most.

    Returns:
        Frames (h, w, 3) uint8 RGB, frames per second, and the number of frames (0: not known).

    Raises:
        InputError: it cannot be opened or has no frames.
    """
    import cv2

    name = f"camera {source}" if isinstance(source, int) else str(source)
    if isinstance(source, Path) and not source.is_file():
        raise InputError(f"no video at {source}")
    capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
    if not capture.isOpened():
        missing = "is there one, and is it free?" if isinstance(source, int) else "is it a video?"
        raise InputError(f"cannot open {name}: {missing}")
    good, first = capture.read()
    if not good:
        raise InputError(f"{name} has no frames")
    rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
    count = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
    waiting: queue.Queue = queue.Queue(ahead)
    stopped = threading.Event()

    def decode() -> None:
        frame = first
        while frame is not None and not stopped.is_set():
            waiting.put(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            good, frame = capture.read()
            frame = frame if good else None
        waiting.put(None)
        capture.release()

    threading.Thread(target=decode, daemon=True, name="decode").start()

    def read() -> Iterator[np.ndarray]:
        try:
            while (frame := waiting.get()) is not None:
                yield frame
        finally:
            stopped.set()
            while not waiting.empty():
                waiting.get()

    return read(), rate, count


def predict_frames(
    frames: Iterator[np.ndarray], predictor: Predictor, every: int = 5
) -> Iterator[tuple[np.ndarray, list[tuple[int, Prediction]]]]:
    """Yield each frame with its faces: number of the track and smoothed prediction.

    Faces are detected in every `every`-th frame and followed in between; the network sees the
    faces of `CHUNK` frames together.
    """
    import cv2

    tracker = Tracker()
    means: dict[int, np.ndarray] = {}
    chunk: list[tuple[np.ndarray, list[tuple[int, tuple]]]] = []

    def finish() -> Iterator[tuple[np.ndarray, list[tuple[int, Prediction]]]]:
        crops = [
            crop_face(frame, box, predictor.margin) for frame, faces in chunk for _, box in faces
        ]
        answers = iter(predictor.probabilities(np.array(crops)) if crops else ())
        for frame, faces in chunk:
            predictions = []
            for number, box in faces:
                answer = next(answers)
                before = means.get(number)
                mean = answer if before is None else SMOOTHING * before + (1 - SMOOTHING) * answer
                means[number] = mean
                predictions.append((number, predictor.describe(box, mean)))
            yield frame, predictions
        chunk.clear()

    for index, frame in enumerate(frames):
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if index % every == 0:
            tracks = tracker.detected(grey, [face.box for face in predictor.detect(frame)])
        else:
            tracks = tracker.follow(grey)
        chunk.append((frame, [(track.number, track.box) for track in tracks]))
        if len(chunk) == CHUNK:
            yield from finish()
    yield from finish()


def predict_video(
    source: int | Path,
    predictor: Predictor,
    *,
    every: int = 5,
    seconds: float | None = None,
    save_dir: Path | None = None,
    csv_path: Path | None = None,
) -> None:
    """Predict a whole video, write what was asked for and print a summary.

    Args:
        source: file, or number of a camera (ended by Ctrl-C or `seconds`).
        predictor: what finds and judges the faces.
        every: faces are detected in every so many frames.
        seconds: stop after this much video.
        save_dir: an annotated .mp4 goes here.
        csv_path: one line a face and frame goes here: frame, seconds, face, box, label,
            probabilities.

    Raises:
        InputError: the video cannot be read or written.
    """
    frames, rate, count = frames_of(source)
    limit = None if seconds is None else max(int(seconds * rate), 1)
    total = min(filter(None, (count, limit)), default=None)
    name = f"camera_{source}" if isinstance(source, int) else source.stem
    started, done, labels = time.perf_counter(), 0, {}
    with ExitStack() as stack:
        table = None
        if csv_path:
            temporary = stack.enter_context(replacing(csv_path))
            file = stack.enter_context(temporary.open("w", newline="", encoding="utf-8"))
            table = csv.writer(file)
            header = ["frame", "seconds", "face", "x", "y", "width", "height", "label"]
            table.writerow([*header, *predictor.class_names])
        drawn = None
        bar = stack.enter_context(progress_bar(total=total, desc=name, unit=" frames"))
        for frame, faces in predict_frames(_first(frames, limit), predictor, every):
            for number, face in faces:
                labels.setdefault(number, []).append(face.label)
                if table:
                    box = [f"{value:.1f}" for value in face.box]
                    shares = [f"{value:.6f}" for value in face.probabilities.values()]
                    when = f"{done / rate:.3f}"
                    table.writerow([done, when, number, *box, face.label, *shares])
            if save_dir:
                if drawn is None:
                    drawn = stack.enter_context(_Writer(save_dir / f"{name}.mp4", rate, frame))
                drawn.write(annotate(frame, [face for _, face in faces]))
            done += 1
            bar.update()
    taken = time.perf_counter() - started
    print(f"{name}: {done} frames in {taken:.1f} s ({done / taken:.1f} frames/s)")
    for number, seen in sorted(labels.items()):
        most = max(set(seen), key=seen.count)
        print(f"  face {number}: {most} in {seen.count(most)} of {len(seen)} frames")


def _first(frames: Iterator[np.ndarray], limit: int | None) -> Iterator[np.ndarray]:
    for index, frame in enumerate(frames):
        if index == limit:
            return
        yield frame


class _Writer:
    """Writes an .mp4 whole: under a temporary name until it is closed."""

    def __init__(self, path: Path, rate: float, frame: np.ndarray) -> None:
        import cv2

        self.path = path
        self.temporary = path.with_name(f".{path.stem}.part.mp4")
        size = (frame.shape[1], frame.shape[0])
        self.writer = cv2.VideoWriter(
            str(self.temporary), cv2.VideoWriter_fourcc(*"mp4v"), rate, size
        )
        if not self.writer.isOpened():
            raise InputError(f"OpenCV cannot write video to {path}")

    def write(self, frame: np.ndarray) -> None:
        import cv2

        self.writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.writer.release()
        if kind is None:
            self.temporary.replace(self.path)
        else:
            self.temporary.unlink(missing_ok=True)
