"""Follow faces from one detection to the next by what they look like."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ferplus_keras.inference.detectors import Box, overlap
from ferplus_keras.inference.detectors import DetectedFace as FoundFace

TEMPLATE = 32
"""Side to which a followed face is brought, in pixels."""

SCALES = (0.95, 1.0, 1.05)
"""Changes of size from one frame to the next that are looked for."""

REACH = 0.25
"""How far from where it is expected a face is looked for, as a share of its side."""

SIMILAR = 0.55
"""Smallest correlation of grey levels at which a face still is the face."""

CHANGED = 0.15
"""Smallest correlation at which a face found where one was lost is it, turned or half seen."""

CLEAR = 0.75
"""Smallest correlation at which a face is seen clearly enough to measure its speed."""

INERTIA = 0.8
"""Share of the earlier speed in a track's running mean."""

SAME_PLACE = 0.3
"""Smallest intersection over union at which a detected face goes on with a track."""

REMEMBERED = 50
"""Frames for which a face that is out of sight keeps its number."""


@dataclass
class Track:
    """One face through the frames.

    Attributes:
        number: counted from 0 in the order of appearance.
        box: where it is, or would be if it went on as it did.
        template: (32, 32) uint8, what it looked like when it was last detected.
        tilt: its tilt then, as `FoundFace.tilt`.
        speed: pixels a frame, across and down.
        hidden: frames since it was last seen; 0 while it is.
        similarity: correlation with the template, where it was last found.
    """

    number: int
    box: Box
    template: np.ndarray
    tilt: float = 0.0
    speed: tuple[float, float] = (0.0, 0.0)
    hidden: int = 0
    similarity: float = 1.0


@dataclass
class Tracker:
    """Follows faces between detections by matching what they looked like.

    Attributes:
        tracks: the faces in sight, and those lost lately.
        seen: faces seen so far.
        lost: a face that was in sight a frame ago no longer is: time to detect anew.
    """

    tracks: list[Track] = field(default_factory=list)
    seen: int = 0
    lost: bool = False

    @property
    def visible(self) -> list[Track]:
        """The faces in sight."""
        return [track for track in self.tracks if not track.hidden]

    def follow(self, grey: np.ndarray) -> None:
        """Find each face in the next frame, (h, w) uint8; one that is not there is hidden."""
        before = len(self.visible)
        for track in self.tracks:
            _step(track, grey)
        for track in sorted(self.visible, key=lambda track: track.similarity):
            others = (other for other in self.visible if other is not track)
            if any(overlap(track.box, other.box) > 0.5 for other in others):
                track.hidden = 1  # one face cannot be two: the less similar one is behind
        self.tracks = [track for track in self.tracks if track.hidden <= REMEMBERED]
        self.lost = self.lost or len(self.visible) < before

    def correct(self, grey: np.ndarray, faces: list[FoundFace]) -> None:
        """Take over what a detector found in the frame that was followed last.

        A found face goes on with the track it overlaps, or with one nearby that looks like it;
        the best match first. The others are new faces; tracks that nothing was found for are
        hidden, and `lost` asks for a second look.
        """
        boxes = [face.box for face in faces]
        patches = [_patch(grey, box) for box in boxes]
        pairs = []
        for index, box in enumerate(boxes):
            for track in self.tracks:
                shared = overlap(track.box, box)
                alike = _correlation(patches[index], track.template)
                near = _distance(track.box, box) < 1
                same_place = shared >= SAME_PLACE and alike >= (CHANGED if track.hidden else -1)
                if same_place or (near and alike >= SIMILAR):
                    pairs.append((shared + alike, index, track))
        goes_on: dict[int, Track] = {}
        for _, index, track in sorted(pairs, key=lambda pair: -pair[0]):
            if index not in goes_on and id(track) not in map(id, goes_on.values()):
                goes_on[index] = track
        left = [track for track in self.visible if id(track) not in map(id, goes_on.values())]
        for track in left:
            track.hidden = 1
        for index, face in enumerate(faces):
            track = goes_on.get(index)
            if track is None:
                self.tracks.append(Track(self.seen, face.box, patches[index], face.tilt))
                self.seen += 1
            else:
                track.box, track.template, track.tilt = face.box, patches[index], face.tilt
                track.hidden, track.similarity = 0, 1.0
        self.lost = bool(left)


def _step(track: Track, grey: np.ndarray) -> None:
    """Move a track to the next frame: to where its face is found, else as far as it went before.

    A face once out of sight comes back by the detector only: what looks like it may be anything.
    """
    x, y, width, height = track.box
    expected = (x + track.speed[0], y + track.speed[1], width, height)
    track.similarity, found = (0.0, expected) if track.hidden else _find(track, expected, grey)
    if track.similarity < SIMILAR or not _inside(found, grey):
        track.hidden += 1
        track.box = _held_inside(expected, grey)
        return
    if track.similarity >= CLEAR:
        steps = zip(track.speed, _centre(track.box), _centre(found), strict=True)
        track.speed = tuple(INERTIA * v + (1 - INERTIA) * (new - old) for v, old, new in steps)
    track.box = found


def _find(track: Track, expected: Box, grey: np.ndarray) -> tuple[float, Box]:
    """Return the best correlation with a track's template around a place, and where it is."""
    import cv2

    best = (-1.0, expected)
    side = round(TEMPLATE * (1 + 2 * REACH))
    for scale in SCALES:
        box = _about_centre(expected, scale)
        area = _patch(grey, _about_centre(box, side / TEMPLATE), side)
        match = cv2.matchTemplate(area, track.template, cv2.TM_CCOEFF_NORMED)
        likeness, right, down = _peak(match)
        if likeness - 0.01 * (scale != 1) > best[0]:  # noise alone must not change the size
            middle = (side - TEMPLATE) / 2
            moved = (right - middle) * box[2] / TEMPLATE, (down - middle) * box[3] / TEMPLATE
            best = (likeness, (box[0] + moved[0], box[1] + moved[1], *box[2:]))
    return best


def _peak(match: np.ndarray) -> tuple[float, float, float]:
    """Return the largest value of a map and where it is, x and y, finer than a pixel."""
    row, column = np.unravel_index(match.argmax(), match.shape)

    def finer(line: np.ndarray, at: int) -> float:
        """Return the top of the parabola through a peak and its neighbours."""
        if not 0 < at < len(line) - 1:
            return float(at)
        before, peak, after = map(float, line[at - 1 : at + 2])
        bend = before - 2 * peak + after
        return at + (before - after) / (2 * bend) if bend else float(at)

    return float(match[row, column]), finer(match[row], column), finer(match[:, column], row)


def _inside(box: Box, grey: np.ndarray) -> bool:
    """Tell whether the middle of a box lies in the picture."""
    x, y = _centre(box)
    return 0 <= x < grey.shape[1] and 0 <= y < grey.shape[0]


def _held_inside(box: Box, grey: np.ndarray) -> Box:
    """Return a box whose middle is in the picture: where a face that left is to come back."""
    height, width = grey.shape
    x = float(np.clip(box[0], -box[2] / 2, width - box[2] / 2))
    y = float(np.clip(box[1], -box[3] / 2, height - box[3] / 2))
    return (x, y, box[2], box[3])


def _centre(box: Box) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def _about_centre(box: Box, scale: float) -> Box:
    """Return a box made larger or smaller, its middle where it was."""
    x, y, width, height = box
    more = (scale - 1) / 2
    return (x - more * width, y - more * height, width * scale, height * scale)


def _distance(one: Box, other: Box) -> float:
    """Return how far two boxes' middles are apart, in sides of the second."""
    (x, y), (other_x, other_y) = _centre(one), _centre(other)
    return float(np.hypot(x - other_x, y - other_y) / max(other[2:]))


def _patch(grey: np.ndarray, box: Box, side: int = TEMPLATE) -> np.ndarray:
    """Return what is inside a box as (side, side) uint8, the picture's edge repeated."""
    import cv2

    x, y, width, height = box
    across, down = width / side, height / side
    matrix = np.array([[across, 0, x + across / 2 - 0.5], [0, down, y + down / 2 - 0.5]])
    return cv2.warpAffine(
        grey,
        matrix,
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    import cv2

    return float(cv2.matchTemplate(one, other, cv2.TM_CCOEFF_NORMED)[0, 0])
