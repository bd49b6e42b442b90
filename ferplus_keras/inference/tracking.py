"""Follow faces from one detection to the next: by optical flow, overlap and looks."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ferplus_keras.inference.crop import Box, DetectedFace, middle_of, overlap

TEMPLATE = 32  # side to which a face is brought to compare its looks, in pixels
POINTS = 7  # points across and down a face whose flow is measured
FOLLOWED = 0.4  # smallest share of them that must be found again, there and back
SIMILAR = 0.55  # smallest correlation of grey levels at which a face still is the face
CHANGED = 0.15  # smallest one at which a face found where one was lost is it, turned or half seen
SAME_PLACE = 0.3  # smallest intersection over union at which a detected face continues a track
NEARBY = 2  # largest distance at which a similar face continues a track, in sides of its box
REMEMBERED = 50  # frames for which a face that is out of sight keeps its number


@dataclass(eq=False)
class Track:
    """One face through the frames."""

    number: int  # from 0 in the order of appearance
    face: DetectedFace  # where it is, or was last
    template: np.ndarray  # (32, 32) uint8, what it looked like when it was last detected
    hidden: int = 0  # frames since it was last seen; 0 while it is
    similarity: float = 1.0  # correlation with the template, where it was last found


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
                same_place = shared >= SAME_PLACE and alike >= (CHANGED if track.hidden else -1)
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
                track.face, track.template, track.hidden, track.similarity = face, patch, 0, 1.0
            else:
                self.tracks.append(Track(self.seen, face, patch))
                self.seen += 1
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
    across, down = map(float, motion @ (*middle_of(face.box), 1))
    if not (0 <= across < grey.shape[1] and 0 <= down < grey.shape[0]):
        return None
    width, height = width * scale, height * scale
    eyes = None if face.eyes is None else face.eyes @ motion[:, :2].T + motion[:, 2]
    return DetectedFace((across - width / 2, down - height / 2, width, height), face.score, eyes)


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
