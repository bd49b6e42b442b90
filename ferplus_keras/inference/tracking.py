"""Follow faces from one detection to the next: by optical flow, overlap and looks."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ferplus_keras.inference.detectors import Box, DetectedFace, overlap

TEMPLATE = 32
"""Side to which a face is brought to compare its looks, in pixels."""

POINTS = 7
"""Points across and down a face whose flow is measured."""

FOLLOWED = 0.4
"""Smallest share of the points that must be found, there and back, for the face to be found."""

SIMILAR = 0.55
"""Smallest correlation of grey levels at which a face still is the face."""

CHANGED = 0.15
"""Smallest correlation at which a face found where one was lost is it, turned or half seen."""

SAME_PLACE = 0.3
"""Smallest intersection over union at which a detected face continues a track."""

NEARBY = 2
"""Largest distance at which a similar face continues a track, in sides of its box."""

REMEMBERED = 50
"""Frames for which a face that is out of sight keeps its number."""


@dataclass(eq=False)
class Track:
    """One face through the frames.

    Attributes:
        number: counted from 0 in the order of appearance.
        face: where it is, or was last.
        template: (32, 32) uint8, what it looked like when it was last detected.
        hidden: frames since it was last seen; 0 while it is.
        similarity: correlation with the template, where it was last found.
    """

    number: int
    face: DetectedFace
    template: np.ndarray
    hidden: int = 0
    similarity: float = 1.0


@dataclass
class Tracker:
    """Follows faces between detections.

    Attributes:
        tracks: the faces in sight, and those lost lately.
        seen: faces seen so far.
        lost: a face that was in sight a frame ago no longer is: time to detect again.
    """

    tracks: list[Track] = field(default_factory=list)
    seen: int = 0
    lost: bool = False
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
                shared = overlap(track.face.box, face.box)
                alike = _correlation(patches[index], track.template)
                same_place = shared >= SAME_PLACE and alike >= (CHANGED if track.hidden else -1)
                near = _distance(track.face.box, face.box) < NEARBY
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
            if index not in goes_on:
                goes_on[index] = Track(self.seen, face, patch)
                self.tracks.append(goes_on[index])
                self.seen += 1
            track = goes_on[index]
            track.face, track.template, track.hidden, track.similarity = face, patch, 0, 1.0
        self.lost = bool(left)


def _moved(face: DetectedFace, before: np.ndarray, grey: np.ndarray) -> DetectedFace | None:
    """Return a face where the points on it went to, or None if too few are found again."""
    import cv2

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
    middle_x, middle_y = motion @ (x + width / 2, y + height / 2, 1)
    if not (0 <= middle_x < grey.shape[1] and 0 <= middle_y < grey.shape[0]):
        return None
    width, height = width * scale, height * scale
    box = (float(middle_x - width / 2), float(middle_y - height / 2), width, height)
    eyes = None if face.eyes is None else face.eyes @ motion[:, :2].T + motion[:, 2]
    return DetectedFace(box, face.score, eyes)


def _distance(one: Box, other: Box) -> float:
    """Return how far two boxes' middles are apart, in sides of the second."""
    across = one[0] + one[2] / 2 - other[0] - other[2] / 2
    down = one[1] + one[3] / 2 - other[1] - other[3] / 2
    return float(np.hypot(across, down) / max(*other[2:], 1e-9))


def _patch(grey: np.ndarray, box: Box) -> np.ndarray:
    """Return what is inside a box as (32, 32) uint8, the picture's edge repeated."""
    import cv2

    x, y, width, height = box
    across, down = width / TEMPLATE, height / TEMPLATE
    matrix = np.array([[across, 0, x + across / 2 - 0.5], [0, down, y + down / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (TEMPLATE, TEMPLATE)
    return cv2.warpAffine(grey, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    import cv2

    return float(cv2.matchTemplate(one, other, cv2.TM_CCOEFF_NORMED)[0, 0])
