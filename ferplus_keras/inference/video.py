"""Expressions in videos: faces detected every few frames, tracked in between, scores smoothed.

Faces are followed from one detection to the next by optical flow, overlap and appearance.
"""

import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.data.pictures import SUFFIXES
from ferplus_keras.errors import InputError, Terminated
from ferplus_keras.inference.annotate import annotate
from ferplus_keras.inference.crop import Box, DetectedFace, middle_of, overlap, shrink
from ferplus_keras.inference.predictor import Prediction, Predictor
from ferplus_keras.inference.sources import AHEAD, Frame, Source, open_video, video_writer
from ferplus_keras.inference.tables import AddFaces
from ferplus_keras.lazy import cv2
from ferplus_keras.progress import progress_bar

EVERY = 10  # frames from one detection to the next; a lost face is looked for at once
DETECTED_SIDE = 480  # frames with a longer side are made smaller for detection, in pixels
SMOOTHING = 0.8  # share of the earlier probabilities in a face's running mean
LONGEST_GAP = 250  # most times that a copy repeats a frame to keep in step with its source

TEMPLATE = 32  # side to which a face is brought to compare its looks, in pixels
POINTS = 7  # points across and down a face whose flow is measured
FOLLOWED = 0.4  # smallest share of them that must be found again, there and back
SIMILAR = 0.55  # smallest correlation of grey levels at which a face still is the face
CHANGED = 0.15  # smallest one at which a face found where one was lost is it, turned or half seen
SAME_SHOT = 0.5  # smallest correlation of two frames that no cut separates
SAME_PLACE = 0.3  # smallest intersection over union at which a detected face continues a track
NEARBY = 2  # largest distance at which a similar face continues a track, in sides of its box
REMEMBERED = 50  # frames for which a face that is out of sight keeps its number


@dataclass
class FaceSummary:
    """One face of a video: the first and the last frame that show it, from 0, and their seconds."""

    first: int
    begins: float
    last: int = 0
    ends: float = 0.0
    frames: int = 0  # in how many it was seen
    total: Counter[str] = field(default_factory=Counter)  # class -> sum of its probabilities

    def answer(self) -> dict[str, Any]:
        """Return {"label", "confidence", "probabilities"} of the mean over its frames."""
        means = {name: value / self.frames for name, value in self.total.items()}
        label = max(means, key=means.get)
        return {"label": label, "confidence": means[label], "probabilities": means}


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
            label, share, _ = face.answer().values()
            lines.append(
                f"  face {number}: {label} {share:.1%} on average, seen in {face.frames} frames "
                f"({face.begins:.1f} to {face.ends:.1f} s)"
            )
        return "\n".join(lines if self.faces else [*lines, "  no face found"])

    def entry(self) -> dict:
        """Return {"file", "frames", "rate", "faces": [{"face", "frames", "first", …}]} for JSON."""
        faces = [
            {"face": number, "frames": face.frames, "first": face.first, "last": face.last}
            | face.answer()
            for number, face in self.faces.items()
        ]
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
    counting = progress_bar(total=total, desc=video.name[-30:], unit=" frames")
    with ExitStack() as files, counting as bar:
        add_frame = files.enter_context(video_writer(copy, video.rate)) if copy else None
        try:
            seen = predict_frames(video.frames, predictor, every, video.ahead)
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
                    add_to_table(video.name, found, (index, moment))
                if video.live:
                    sys.stdout.flush()  # of a table that is printed, for its reader to follow
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
                lost = video.count - summary.frames
                wanted = (seconds or 0) if video.live else video.count / video.rate
                early = wanted - moment > max(2.5 / video.rate, wanted / 50)
                if summary.frames == 1 and video.name.lower().endswith(SUFFIXES):
                    summary.problem = (
                        f"{video.name} is a picture, read as a video: download it and name the "
                        "file, which is then turned upright"
                    )
                elif video.live and not seconds:
                    summary.problem = f"{video.name} ended by itself after {moment:.1f} s"
                elif early and (video.live or lost > 2):
                    summary.problem = f"{video.name} ends after {moment:.1f} of {wanted:.1f} s"
                    if lost > 0:
                        summary.problem += (
                            f" and {summary.frames} of {video.count} frames: it is cut off or "
                            "damaged, was trimmed without encoding it again, or has longer sound"
                        )
        except KeyboardInterrupt as stop:
            if not summary.frames:
                raise
            if not video.live or isinstance(stop, Terminated):  # not how a camera's time ends
                summary.stopped = stop
        finally:
            video.frames.close()
        try:
            files.close()
        except InputError as error:  # the answers are as good as without a copy
            summary.problem = str(error)
    summary.taken = time.perf_counter() - started
    return summary


def predict_frames(
    frames: Iterable[Frame], predictor: Predictor, every: int = EVERY, chunk_size: int = AHEAD
) -> Iterator[tuple[float, np.ndarray, list[tuple[int, Prediction]]]]:
    """Yield each frame's seconds, the frame, and the number and smoothed prediction of each face.

    The network sees the faces of `chunk_size` frames together; `every` is as for `predict_video`.
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


@dataclass(eq=False)
class Track:
    """One face through the frames."""

    number: int  # from 0 in the order of appearance
    face: DetectedFace  # where it is, or was last
    template: np.ndarray  # (32, 32) uint8, what it looked like when it was last detected
    hidden: int = 0  # frames since it was last seen; 0 while it is
    similarity: float = 1.0  # correlation with the template, where it was last found
    cut: bool = False  # whether it was lost at a cut: another face may be in its place


@dataclass
class Tracker:
    """Follows faces between detections."""

    tracks: list[Track] = field(default_factory=list)  # in sight, or lost lately
    seen: int = 0  # faces seen so far
    lost: bool = False  # a face in sight a frame ago no longer is: time to detect again
    _before: np.ndarray | None = None

    @property
    def visible(self) -> list[Track]:
        """The faces in sight."""
        return [track for track in self.tracks if not track.hidden]

    def follow(self, grey: np.ndarray) -> None:
        """Find each face in the next frame, (h, w) uint8; one that is not there is hidden."""
        before = len(self.visible)
        for track in self.tracks:
            moved = None if track.hidden else _moved(track.face, self._before, grey)
            if moved:
                track.face = moved
                track.similarity = _correlation(_patch(grey, moved.box), track.template)
            if not moved or track.similarity < SIMILAR:
                track.hidden += 1
        hidden = [track for track in self.tracks if track.hidden]
        if hidden and _is_cut(self._before, grey):
            for track in hidden:
                track.cut = True
        for track in sorted(self.visible, key=lambda track: track.similarity):
            others = (other.face.box for other in self.visible if other is not track)
            if any(overlap(track.face.box, box) > 0.5 for box in others):
                track.hidden = 1  # one face cannot be two: the less similar one is behind
        self.tracks = [track for track in self.tracks if track.hidden <= REMEMBERED]
        self.lost = self.lost or len(self.visible) < before
        self._before = grey

    def correct(self, grey: np.ndarray, faces: list[DetectedFace]) -> None:
        """Take over what a detector found in the frame that was followed last.

        A found face continues the track it overlaps, or one nearby that looks like it; the
        best match first. The others are new faces; tracks that nothing was found for are hidden,
        and `lost` asks for a second look.
        """
        patches = [_patch(grey, face.box) for face in faces]
        pairs = []
        for index, face in enumerate(faces):
            for track in self.tracks:
                box = track.face.box
                shared = overlap(box, face.box)
                alike = _correlation(patches[index], track.template)
                enough = SIMILAR if track.cut else CHANGED if track.hidden else -1
                same_place = shared >= SAME_PLACE and alike >= enough
                apart = np.hypot(*np.subtract(middle_of(box), middle_of(face.box)))
                near = apart / max(*face.box[2:], 1e-9) < NEARBY
                if same_place or (near and alike >= SIMILAR):
                    pairs.append((shared + alike, index, track))
        goes_on: dict[int, Track] = {}
        for _, index, track in sorted(pairs, key=lambda pair: -pair[0]):
            if index not in goes_on and track not in goes_on.values():
                goes_on[index] = track
        left = [track for track in self.visible if track not in goes_on.values()]
        for track in left:
            track.hidden = 1
        for index, (face, patch) in enumerate(zip(faces, patches, strict=True)):
            if track := goes_on.get(index):
                track.face, track.template, track.similarity = face, patch, 1.0
                track.hidden, track.cut = 0, False
            else:
                self.tracks.append(Track(self.seen, face, patch))
                self.seen += 1
        self.lost = bool(left)


def _moved(face: DetectedFace, before: np.ndarray, grey: np.ndarray) -> DetectedFace | None:
    """Return a face where the points on it went to, or None if too few are found again."""
    if before.shape != grey.shape:
        return None
    x, y, width, height = face.box
    steps = np.linspace(0.1, 0.9, POINTS)
    points = np.stack(np.meshgrid(x + width * steps, y + height * steps), axis=-1)
    points = points.reshape(-1, 2).astype(np.float32)
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, grey, points, None)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(grey, before, there, None)
    sure = (found & found_back).ravel().astype(bool)
    sure &= np.abs(back - points).max(axis=1) < 1
    if sure.mean() < FOLLOWED:
        return None
    motion, _ = cv2.estimateAffinePartial2D(points[sure], there[sure])
    if motion is None:
        return None
    scale = float(np.hypot(motion[0, 0], motion[1, 0]))
    across, down = map(float, motion @ (*middle_of(face.box), 1))
    if not (0 <= across < grey.shape[1] and 0 <= down < grey.shape[0]):
        return None
    width, height = width * scale, height * scale
    eyes = None if face.eyes is None else face.eyes @ motion[:, :2].T + motion[:, 2]
    return DetectedFace((across - width / 2, down - height / 2, width, height), face.score, eyes)


def _is_cut(before: np.ndarray, grey: np.ndarray) -> bool:
    small = (shrink(frame, 16)[0] for frame in (before, grey))
    return before.shape != grey.shape or _correlation(*small) < SAME_SHOT


def _patch(grey: np.ndarray, box: Box) -> np.ndarray:
    """Return what is inside a box as (32, 32) uint8, the picture's edge repeated."""
    x, y, width, height = box
    across, down = width / TEMPLATE, height / TEMPLATE
    matrix = np.array([[across, 0, x + across / 2 - 0.5], [0, down, y + down / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (TEMPLATE, TEMPLATE)
    return cv2.warpAffine(grey, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(cv2.matchTemplate(one, other, cv2.TM_CCOEFF_NORMED)[0, 0])
