"""Expressions in videos: faces detected now and then, followed in between, scores smoothed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ferplus_keras.inference.annotate import annotate
from ferplus_keras.inference.detectors import Box, shrink
from ferplus_keras.inference.detectors import DetectedFace as FoundFace
from ferplus_keras.inference.frames import open_video, video_writer
from ferplus_keras.inference.predictor import Prediction, Predictor
from ferplus_keras.inference.tables import AddFaces
from ferplus_keras.inference.tracking import Tracker
from ferplus_keras.progress import progress_bar

EVERY = 10
"""Frames from one detection to the next; a lost face is looked for at once."""

DETECTED_SIDE = 480
"""Frames with a longer side are made smaller for detection, in pixels."""

SMOOTHING = 0.8
"""Share of the earlier probabilities in a face's running mean."""

CHUNK = 16
"""Frames whose faces the network sees together; a camera's are seen one by one."""

Seen = tuple[int, Prediction]
"""A face's number and what it expresses."""

Followed = tuple[np.ndarray, list[tuple[int, Box, float]]]
"""A frame with its faces: number, box, tilt."""


@dataclass
class FaceSummary:
    """One face of a video.

    Attributes:
        frames: in how many it was seen.
        first: the first of them, from 0.
        last: the last of them.
        total: sum of its probabilities, class -> sum.
    """

    first: int
    frames: int = 0
    last: int = 0
    total: dict[str, float] = field(default_factory=dict)

    @property
    def probabilities(self) -> dict[str, float]:
        """Class -> mean probability."""
        return {name: value / self.frames for name, value in self.total.items()}

    def add(self, frame: int, face: Prediction) -> None:
        """Count a frame in."""
        self.frames, self.last = self.frames + 1, frame
        for name, value in face.probabilities.items():
            self.total[name] = self.total.get(name, 0.0) + value


@dataclass
class VideoSummary:
    """What was found in a video.

    Attributes:
        name: the file, or "camera 0".
        rate: its frames a second.
        frames: how many were looked at.
        taken: seconds that took.
        faces: number of each face -> what was seen of it.
    """

    name: str
    rate: float
    frames: int = 0
    taken: float = 0.0
    faces: dict[int, FaceSummary] = field(default_factory=dict)

    def __str__(self) -> str:
        speed = self.frames / max(self.taken, 1e-9)
        lines = [f"{self.name}: {self.frames} frames in {self.taken:.1f} s ({speed:.0f} frames/s)"]
        for number, face in self.faces.items():
            label, share = max(face.probabilities.items(), key=lambda item: item[1])
            lines.append(
                f"  face {number}: {label} {share:.1%} on average, seen in {face.frames} frames "
                f"({face.first / self.rate:.1f} to {face.last / self.rate:.1f} s)"
            )
        return "\n".join(lines if self.faces else [*lines, "  no face found"])

    def entry(self) -> dict:
        """Return {"file", "frames", "rate", "faces": [{"face", "frames", "first", …}]} for JSON."""
        faces = [
            {
                "face": number,
                "frames": face.frames,
                "first": face.first,
                "last": face.last,
                "label": max(face.probabilities, key=face.probabilities.get),
                "confidence": max(face.probabilities.values()),
                "probabilities": face.probabilities,
            }
            for number, face in self.faces.items()
        ]
        return {"file": self.name, "frames": self.frames, "rate": self.rate, "faces": faces}


def predict_video(
    source: int | Path,
    predictor: Predictor,
    *,
    every: int = EVERY,
    seconds: float | None = None,
    copy: Path | None = None,
    add_to_table: AddFaces | None = None,
) -> VideoSummary:
    """Look at a whole video and write what was asked for.

    Args:
        source: file, or number of a camera, which Ctrl-C or `seconds` ends.
        predictor: what finds and judges the faces.
        every: frames from one detection to the next.
        seconds: stop after this much video.
        copy: .mp4 file for the annotated copy.
        add_to_table: as `tables.csv_table` yields it; gets every frame's faces.

    Raises:
        InputError: the video cannot be read or written.
    """
    video = open_video(source)
    summary = VideoSummary(video.name, video.rate)
    limit = None if seconds is None else max(round(seconds * video.rate), 1)
    total = min(filter(None, (video.count, limit)), default=None)
    camera = isinstance(source, int)
    predictor.detect(np.zeros((64, 64, 3), np.uint8))  # loads the detector, before time is taken
    started = time.perf_counter()
    with ExitStack() as stack:
        add_frame = stack.enter_context(video_writer(copy, video.rate)) if copy else None
        bar = stack.enter_context(progress_bar(total=total, desc=video.name, unit=" frames"))
        try:
            seen = predict_frames(video.frames, predictor, every, 1 if camera else CHUNK)
            for index, (frame, found) in enumerate(seen):
                faces = [face for _, face in found]
                for number, face in found:
                    summary.faces.setdefault(number, FaceSummary(index)).add(index, face)
                if add_to_table:
                    numbers = [number for number, _ in found]
                    add_to_table(video.name, faces, numbers, (index, index / video.rate))
                if add_frame:
                    add_frame(annotate(frame, faces))
                summary.frames += 1
                if camera:
                    bar.set_postfix_str(", ".join(face.label for face in faces), refresh=False)
                bar.update()
                if summary.frames == limit:
                    break
        except KeyboardInterrupt:
            if not camera:
                raise
        finally:
            video.frames.close()
    summary.taken = time.perf_counter() - started
    return summary


def predict_frames(
    frames: Iterable[np.ndarray], predictor: Predictor, every: int = EVERY, chunk_size: int = CHUNK
) -> Iterator[tuple[np.ndarray, list[Seen]]]:
    """Yield each frame with its faces: their numbers and smoothed predictions.

    Args:
        frames: (h, w, 3) uint8 RGB each.
        predictor: what finds and judges the faces.
        every: frames from one detection to the next; in between they are followed.
        chunk_size: frames whose faces the network sees together.
    """
    import cv2

    tracker = Tracker()
    means: dict[int, np.ndarray] = {}
    chunk: list[Followed] = []
    due = 0
    for index, frame in enumerate(frames):
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        tracker.follow(grey)
        if index >= due or tracker.lost:
            tracker.correct(grey, _detect(frame, predictor))
            due = index + every
        faces = [(track.number, track.box, track.tilt) for track in tracker.visible]
        chunk.append((frame, faces))
        if len(chunk) == chunk_size:
            yield from _judge(chunk, predictor, means)
            known = {track.number for track in tracker.tracks}
            means = {number: mean for number, mean in means.items() if number in known}
            chunk = []
    yield from _judge(chunk, predictor, means)


def _detect(frame: np.ndarray, predictor: Predictor) -> list[FoundFace]:
    small, scale = shrink(frame, DETECTED_SIDE)
    return [face.enlarged(scale) for face in predictor.detect(small)]


def _judge(
    chunk: list[Followed], predictor: Predictor, means: dict[int, np.ndarray]
) -> Iterator[tuple[np.ndarray, list[Seen]]]:
    """Yield the frames of a chunk with their predictions; `means` goes on from chunk to chunk."""
    crops = [
        predictor.crop(frame, _tilted(box, tilt))
        for frame, faces in chunk
        for _, box, tilt in faces
    ]
    answers = iter(predictor.probabilities(np.array(crops)) if crops else ())
    for frame, faces in chunk:
        found = []
        for number, box, _ in faces:
            answer = next(answers)
            mean = means.get(number, answer)
            means[number] = SMOOTHING * mean + (1 - SMOOTHING) * answer
            found.append((number, predictor.describe(box, means[number])))
        yield frame, found


def _tilted(box: Box, tilt: float) -> FoundFace:
    angle = np.radians(tilt)
    return FoundFace(box, 1.0, np.array([[0, 0], [np.cos(angle), np.sin(angle)]]))
