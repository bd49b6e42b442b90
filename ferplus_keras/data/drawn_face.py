"""Cartoon faces drawn with OpenCV: an expression is thirteen numbers, a face adds everything else.

In a face's own coordinates the head is about 2 wide and 2.5 high around (0, 0), x grows to the
right and y downwards. Faces are drawn at four times their size and shrunk, for smooth edges.
"""

from collections import namedtuple

import cv2
import numpy as np

from ferplus_keras.emotions import FACE_SIZE, FERPLUS_CLASSES

_SIDE = 4 * FACE_SIZE  # of the drawing, in pixels
_SUBPIXEL_BITS = 4  # cv2 takes fixed-point coordinates: sixteenths of a pixel

_MUSCLES = {
    "brow_height": (0, 0.2, 1, 0.1, -0.5, -0.4, 0.8, 0),  # + raised
    "brow_slant": (0, 0, 0, 0.9, -1, -0.3, 0.9, 0),  # + inner ends up (worry), - down (scowl)
    "brow_skew": (0, 0, 0, 0, 0, 0, 0, 1),  # + raised above the smirk, lowered on the other side
    "eye_open": (0, -0.2, 0.6, -0.3, -0.2, -0.65, 0.5, -0.45),  # + wide, - narrowed
    "mouth_curve": (0, 1, 0, -0.9, -0.35, -0.55, -0.55, -0.1),  # + corners up
    "mouth_open": (0, 0.6, 1, 0, 0.4, 0.4, 0.5, 0),  # height of the opening
    "mouth_width": (0, 0.3, -0.55, -0.1, 0.15, -0.1, 0.25, -0.1),  # + stretched, - pursed
    "mouth_skew": (0, 0, 0, 0, 0, 0, 0, 1),  # + one corner alone is pulled up
    "mouth_square": (0, 0, 0, 0, 1, 0, 0.7, 0),  # 0 round opening, 1 square with bared teeth
    "tongue": (0, 0, 0, 0, 0, 1, 0, 0),  # shown below the lip
    "nose_wrinkle": (0, 0, 0, 0, 0, 1, 0, 0),
    "cheeks": (0, 1, 0, 0, 0, 0, 0, 0),  # round and lifted
    "tilt": (0, 0, 0, 0, 0, 0, 0, 1),  # of the head, to the side of the smirk
}
"""What moves -> how far in each of `FERPLUS_CLASSES`, from 0 (at rest) to about ±1, after the
cartoonist's (and Ekman's) textbook cues."""

Expression = namedtuple("Expression", _MUSCLES)

EXPRESSIONS = {
    name: Expression(*moves)
    for name, *moves in zip(FERPLUS_CLASSES, *_MUSCLES.values(), strict=True)
}
"""FER+ class -> its full expression."""

_PROPORTIONS = {
    "head_height": (1.12, 1.32),  # half of it, in half head widths
    "eye_distance": (0.38, 0.46),
    "eye_size": (0.9, 1.15),
    "brow_thickness": (0.07, 0.12),
    "nose_length": (0.2, 0.34),
    "mouth_size": (0.36, 0.46),
}
"""What differs between people -> least and most."""

Person = namedtuple("Person", ["skin", "hair", "style", *_PROPORTIONS, "smirk_side", "glasses"])
"""Grey values of skin and hair (0 to 255), style of the hair, proportions; the side, -1 or 1, of
one-sided movements; whether the person wears glasses."""


def blend(start: Expression, end: Expression, share: float) -> Expression:
    """Return the expression that lies `share` (0 to 1) of the way from `start` to `end`."""
    return Expression(*((1 - share) * np.array(start) + share * np.array(end)))


def draw_person(rng: np.random.Generator) -> Person:
    """Draw a person at random."""
    skin = rng.uniform(95, 225)
    hair = float(np.clip(skin - rng.uniform(55, 150), 15, 190))
    style = str(rng.choice(["short", "fringe", "long", "curls", "bun", "bald"]))
    proportions = [rng.uniform(*limits) for limits in _PROPORTIONS.values()]
    return Person(skin, hair, style, *proportions, int(rng.choice([-1, 1])), rng.random() < 0.1)


def draw_face(
    expression: Expression,
    person: Person,
    rng: np.random.Generator,
    *,
    from_behind: bool = False,
    nuisance: float = 1.0,
) -> np.ndarray:
    """Draw one face, (48, 48) uint8, 0-255, or the back of its head, which nobody can read.

    `rng` draws the background, and place, size, light and noise as strongly as `nuisance` says: 0
    for a clean portrait.
    """
    canvas = _draw_background(rng)
    scale = _SIDE * (0.39 + nuisance * rng.uniform(-0.045, 0.045))
    centre = _SIDE * (np.array([0.5, 0.54]) + nuisance * rng.uniform(-0.05, 0.05, 2))
    tilt = np.deg2rad(12 * expression.tilt * person.smirk_side + nuisance * rng.normal(0, 4))
    pen = _Pen(canvas, scale, tilt, centre)
    _draw_head(pen, person)
    if from_behind:
        grey = person.skin if person.style == "bald" else person.hair
        pen.ellipse(0, 0, 1.02, person.head_height, grey)
    else:
        for draw in (_draw_eyes, _draw_nose, _draw_mouth):
            draw(pen, person, expression)
    _draw_hair(pen, person)
    return _photograph(canvas, rng, nuisance)


class _Pen:
    """Draws smooth shapes, given in face coordinates, on a grey canvas."""

    def __init__(self, canvas: np.ndarray, scale: float, angle: float, centre: np.ndarray):
        turn = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
        self._canvas, self._scale, self._centre = canvas, scale, centre
        self._turn = scale * np.array(turn)

    def _pixels(self, points: np.ndarray) -> list[np.ndarray]:
        """Return `points` (n, 2) as one outline of fixed-point pixels (n, 1, 2) int32."""
        pixels = np.asarray(points, float) @ self._turn + self._centre
        return [np.rint(pixels * 2**_SUBPIXEL_BITS).astype(np.int32)[:, None]]

    def fill(self, points: np.ndarray, grey: float) -> None:
        cv2.fillPoly(self._canvas, self._pixels(points), grey, cv2.LINE_AA, _SUBPIXEL_BITS)

    def line(self, points: np.ndarray, grey: float, width: float) -> None:
        style = (max(1, round(width * self._scale)), cv2.LINE_AA, _SUBPIXEL_BITS)
        cv2.polylines(self._canvas, self._pixels(points), False, grey, *style)

    def ellipse(self, x: float, y: float, half_width: float, half_height: float, grey: float):
        self.fill(_arc(x, y, half_width, half_height), grey)


def _arc(x, y, half_width, half_height, start=0.0, end=360.0) -> np.ndarray:
    """Return points (40, 2) of an ellipse's arc; degrees from +x towards +y, that is downwards."""
    angles = np.deg2rad(np.linspace(start, end, 40))
    return np.column_stack([x + half_width * np.cos(angles), y + half_height * np.sin(angles)])


def _draw_background(rng: np.random.Generator) -> np.ndarray:
    """Return a canvas: a wall with a few large, faint shapes."""
    canvas = np.full((_SIDE, _SIDE), rng.uniform(40, 220), np.uint8)
    for _ in range(3):
        grey = float(np.clip(canvas[0, 0] + rng.uniform(-35, 35), 0, 255))
        place, radius = rng.integers(0, _SIDE, 2), rng.integers(_SIDE // 8, _SIDE // 3)
        cv2.circle(canvas, place.tolist(), int(radius), grey, -1, cv2.LINE_AA)
    return canvas


def _photograph(canvas: np.ndarray, rng: np.random.Generator, nuisance: float) -> np.ndarray:
    """Light the drawing from one side, shrink it, and add the camera's contrast and noise."""
    small = cv2.resize(canvas, (FACE_SIZE, FACE_SIZE), interpolation=cv2.INTER_AREA)
    direction = rng.uniform(0, 2 * np.pi)
    ramp = np.linspace(-1, 1, FACE_SIZE)
    light = np.cos(direction) * ramp + np.sin(direction) * ramp[:, None]
    lit = small * (1 + nuisance * rng.uniform(0, 0.3) * light)
    lit = 128 + (lit - 128) * (1 + nuisance * rng.uniform(-0.3, 0.15))
    lit += nuisance * (rng.uniform(-20, 20) + rng.normal(0, rng.uniform(1, 7), lit.shape))
    return np.clip(np.rint(lit), 0, 255).astype(np.uint8)


def _draw_head(pen: _Pen, person: Person) -> None:
    skin, hair, style, height, *_ = person
    if style in ("long", "curls"):
        pen.ellipse(0, 0.1, 1.22, height + 0.15, hair)
    if style == "long":
        pen.fill([(-1.22, 0), (1.22, 0), (1.1, 2), (-1.1, 2)], hair)
    pen.fill([(-0.45, 0.8), (0.45, 0.8), (0.5, 2), (-0.5, 2)], 0.78 * skin)
    pen.ellipse(0, 2.35, 1.5, 0.85, 0.5 * hair + 40)
    for side in (-1, 1):
        pen.ellipse(side, 0.08, 0.16, 0.24, 0.86 * skin)
    pen.ellipse(0, 0, 1, height, skin)


def _draw_hair(pen: _Pen, person: Person) -> None:
    _, hair, style, height, *_ = person
    edge = _arc(0, -0.3, 0.95, 0.5 * height, 350, 190)
    if style == "fringe":
        edge = [(0.8 - 0.16 * k, -0.66 - 0.08 * (k % 2)) for k in range(11)]
    if style in ("short", "long", "bun", "fringe"):
        pen.fill(np.concatenate([_arc(0, 0.02, 1.06, height + 0.1, 195, 345), edge]), hair)
    if style == "curls":
        for x, y in _arc(0, -0.05, 1.0, height - 0.02, 190, 350)[::4]:
            pen.ellipse(x, y, 0.26, 0.26, hair)
    if style == "bun":
        pen.ellipse(0, -height - 0.12, 0.36, 0.3, hair)


def _draw_eyes(pen: _Pen, person: Person, face: Expression) -> None:
    y = -0.12
    width, iris = 0.23 * person.eye_size, 0.115 * person.eye_size
    opening = 0.17 * person.eye_size * max(0.12, 1 + face.eye_open)
    dark = 0.3 * min(person.hair, person.skin)
    along = np.linspace(-1, 1, 9)  # the brow, from its inner to its outer end
    for side in (-1, 1):
        x = side * person.eye_distance
        pen.ellipse(x, y, width, opening, min(255, person.skin + 75))
        pen.ellipse(x, y, iris, min(iris, 0.95 * opening), 25)
        pen.ellipse(x + 0.04, y - 0.3 * min(iris, opening), 0.035, 0.035, 240)
        pen.line(_arc(x, y, width, opening, 180, 360), dark, 0.05)
        pen.line(_arc(x, y, width, opening, 20, 160), 0.75 * person.skin, 0.03)
        raised = face.brow_height + 0.8 * face.brow_skew * side * person.smirk_side
        brow_y = y - 0.36 - 0.15 * raised + 0.15 * face.brow_slant * along + 0.05 * along**2
        brow_x = side * (person.eye_distance + 0.02 + 0.27 * along)
        pen.line(np.column_stack([brow_x, brow_y]), dark, person.brow_thickness)
        if person.glasses:
            pen.line(_arc(x, y + 0.02, 0.33, 0.31), 40, 0.04)
    if person.glasses:
        pen.line([(-0.1, y - 0.04), (0.1, y - 0.04)], 40, 0.04)


def _draw_nose(pen: _Pen, person: Person, face: Expression) -> None:
    tip = 0.08 + person.nose_length - 0.06 * face.nose_wrinkle
    fold = person.skin - max(face.nose_wrinkle, 0.0) * 0.4 * person.skin
    flush = person.skin * (1 - 0.14 * max(face.cheeks, 0.0))
    pen.line(_arc(0, tip, 0.14, 0.09, 0, 180), 0.68 * person.skin, 0.05)
    for side in (-1, 1):
        pen.line([(side * 0.06, tip - 0.3), (side * 0.17, tip - 0.22)], fold, 0.045)
        pen.line([(side * 0.08, tip - 0.18), (side * 0.2, tip - 0.08)], fold, 0.045)
        pen.ellipse(side * 0.62, 0.28, 0.2, 0.14, flush)


def _draw_mouth(pen: _Pen, person: Person, face: Expression) -> None:
    along = np.linspace(-1, 1, 33)
    smirk = np.clip(along * person.smirk_side, 0, 1) ** 2
    middle = 0.66 - 0.2 * face.mouth_curve * (along**2 - 0.5) - 0.34 * face.mouth_skew * smirk
    roundness = 2 + 6 * max(face.mouth_square, 0.0)
    opening = 0.46 * max(face.mouth_open, 0.0) * np.sqrt(1 - np.abs(along) ** roundness)
    x = person.mouth_size * (1 + 0.8 * face.mouth_width) * along
    top, lips = middle - 0.4 * opening, 0.42 * person.skin
    upper, lower = (np.column_stack([x, y]) for y in (top, middle + 0.6 * opening))
    if face.mouth_open > 0.05:
        pen.fill(np.concatenate([upper, lower[::-1]]), 30)
        bared = 0.35 + 0.65 * np.clip(face.mouth_square, 0, 1)
        if face.mouth_curve > 0.3 or face.mouth_square > 0.3:
            teeth = np.column_stack([x, top + bared * opening])
            pen.fill(np.concatenate([upper, teeth[::-1]]), 235)
        if face.mouth_square > 0.3:
            pen.line(np.column_stack([x, middle + 0.1 * opening]), 120, 0.03)
    if face.tongue > 0.1:
        chin = 0.66 + 0.3 * opening.max()
        pen.ellipse(0, chin + 0.12 * face.tongue, 0.17, 0.2 * face.tongue, 0.55 * person.skin + 20)
        pen.line([(0, chin), (0, chin + 0.16 * face.tongue)], lips, 0.03)
    pen.line(upper, lips, 0.06)
    pen.line(lower, lips, 0.06)
