"""Expressions in videos: faces detected every few frames, tracked in between, scores smoothed."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ferplus_keras.inference.annotate import annotate
from ferplus_keras.inference.crop import DetectedFace, shrink
from ferplus_keras.inference.frames import Frame, open_video, video_writer
from ferplus_keras.inference.predictor import Prediction, Predictor
from ferplus_keras.inference.sources import Source
from ferplus_keras.inference.tables import AddFaces
from ferplus_keras.inference.tracking import Tracker
from ferplus_keras.progress import progress_bar

EVERY = 10  # frames from one detection to the next; a lost face is looked for at once
DETECTED_SIDE = 480  # frames with a longer side are made smaller for detection, in pixels
SMOOTHING = 0.8  # share of the earlier probabilities in a face's running mean
CHUNK = 16  # frames whose faces the network sees together; those of a live source one by one
LONGEST_GAP = 250  # most times that a copy repeats a frame to keep in step with its source

Seen = Iterator[tuple[float, np.ndarray, list[tuple[int, Prediction]]]]
"""Seconds, frame, and the number and prediction of each face in it."""


@dataclass
class FaceSummary:
    """One face of a video: the first and the last frame that show it, from 0, and their seconds."""

    first: int
    begins: float
    last: int = 0
    ends: float = 0.0
    frames: int = 0  # in how many it was seen
    total: Counter[str] = field(default_factory=Counter)  # class -> sum of its probabilities

    @property
    def probabilities(self) -> dict[str, float]:
        """Class -> mean probability."""
        return {name: value / self.frames for name, value in self.total.items()}


@dataclass
class VideoSummary:
    """What was found in a video."""

    name: str  # the file, its address, or "camera 0"
    rate: float  # frames per second
    frames: int = 0  # how many were read
    taken: float = 0.0  # seconds that took
    faces: dict[int, FaceSummary] = field(default_factory=dict)  # by number
    problem: str | None = None  # what is wrong with the video, one line
    stopped: KeyboardInterrupt | None = None  # what ended it early

    def __str__(self) -> str:
        speed = self.frames / max(self.taken, 1e-9)
        lines = [f"{self.name}: {self.frames} frames in {self.taken:.1f} s ({speed:.0f} frames/s)"]
        for number, face in self.faces.items():
            label, share = max(face.probabilities.items(), key=lambda item: item[1])
            lines.append(
                f"  face {number}: {label} {share:.1%} on average, seen in {face.frames} frames "
                f"({face.begins:.1f} to {face.ends:.1f} s)"
            )
        return "\n".join(lines if self.faces else [*lines, "  no face found"])

    def entry(self) -> dict:
        """Return {"file", "frames", "rate", "faces": [{"face", "frames", "first", …}]} for JSON."""
        faces = []
        for number, face in self.faces.items():
            shares = face.probabilities
            label = max(shares, key=shares.get)
            counts = {"face": number, "frames": face.frames, "first": face.first, "last": face.last}
            answer = {"label": label, "confidence": shares[label], "probabilities": shares}
            faces.append(counts | answer)
        found = {"file": self.name, "frames": self.frames, "rate": self.rate, "faces": faces}
        return found | ({"error": self.problem} if self.problem else {})


def predict_video(
    source: Source,
    predictor: Predictor,
    *,
    every: int = EVERY,
    seconds: float | None = None,
    copy: Path | None = None,
    add_to_table: AddFaces | None = None,
) -> VideoSummary:
    """Read a video to its end and write what was asked for.

    Ctrl-C ends it early and keeps table and copy of what was read so far.

    Args:
        source: file, address, or number of a camera.
        every: frames from one detection to the next; in between they are followed.
        seconds: stop after this much video.
        copy: .mp4 file for the annotated copy.
        add_to_table: as `tables.csv_table` yields it; gets every frame's faces.

    Raises:
        InputError: the video cannot be read or written.
    """
    video = open_video(source)
    summary = VideoSummary(video.name, video.rate)
    most = None if seconds is None else max(round(seconds * video.rate), 1)
    total = min(filter(None, (video.count, most)), default=None)
    written, started = 0, time.perf_counter()
    writing = video_writer(copy, video.rate) if copy else nullcontext()
    counting = progress_bar(total=total, desc=video.name, unit=" frames")
    with writing as add_frame, counting as bar:
        try:
            seen = predict_frames(video.frames, predictor, every, 1 if video.live else CHUNK)
            for index, (moment, frame, found) in enumerate(seen):
                if seconds is not None and index and moment >= seconds - 0.5 / video.rate:
                    break
                faces = [face for _, face in found]
                for number, face in found:
                    known = summary.faces.setdefault(number, FaceSummary(index, moment))
                    known.last, known.ends = index, moment
                    known.frames += 1
                    known.total.update(face.probabilities)
                if add_to_table:
                    numbers = [number for number, _ in found]
                    add_to_table(video.name, faces, numbers, (index, moment))
                if add_frame:
                    drawn = annotate(frame, faces)
                    due = round(moment * video.rate) + 1  # frames, if there were no gaps
                    for _ in range(min(due - written, LONGEST_GAP)):
                        add_frame(drawn)
                    written = max(written, due)
                summary.frames += 1
                if video.live:
                    bar.set_postfix_str(", ".join(face.label for face in faces), refresh=False)
                bar.update()
            else:
                if video.count - summary.frames > max(2, video.count // 50):
                    summary.problem = (
                        f"{video.name} announces {video.count} frames, but only {summary.frames} "
                        "can be read: it is cut off or damaged"
                    )
        except KeyboardInterrupt as stop:
            if not summary.frames:
                raise
            summary.stopped = None if video.live else stop
        finally:
            video.frames.close()
    summary.taken = time.perf_counter() - started
    return summary


def predict_frames(
    frames: Iterable[Frame], predictor: Predictor, every: int = EVERY, chunk_size: int = CHUNK
) -> Seen:
    """Yield each frame's seconds, the frame, and its faces: numbers and smoothed predictions.

    Args:
        every: as for `predict_video`.
        chunk_size: frames whose faces the network sees together.
    """
    means: dict[int, np.ndarray] = {}
    followed = _followed(frames, predictor, every)
    while chunk := list(itertools.islice(followed, chunk_size)):
        crops = [predictor.crop(frame, face) for _, frame, faces in chunk for _, face in faces]
        rows = iter(predictor.probabilities(np.array(crops)) if crops else ())
        for seconds, frame, faces in chunk:
            found = []
            for number, face in faces:
                row = next(rows)
                means[number] = SMOOTHING * means.get(number, row) + (1 - SMOOTHING) * row
                found.append((number, predictor.describe(face.box, means[number])))
            yield seconds, frame, found


def _followed(
    frames: Iterable[Frame], predictor: Predictor, every: int
) -> Iterator[tuple[float, np.ndarray, list[tuple[int, DetectedFace]]]]:
    """Yield each frame's seconds, the frame, and the number and place of each face in it."""
    import cv2

    tracker = Tracker()
    due = 0
    for index, (seconds, frame) in enumerate(frames):
        small, scale = shrink(frame, DETECTED_SIDE)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        tracker.follow(grey)
        if index >= due or tracker.lost:
            tracker.correct(grey, predictor.detect(small))
            due = index + (1 if predictor.whole else every)
        yield seconds, frame, [(each.number, each.face.enlarged(scale)) for each in tracker.visible]
