"""The drawn data set: fer2013.csv and fer2013new.csv in their real formats, from a seed.

Faces are cartoons drawn with OpenCV: an expression is nine numbers, a person adds everything else.
In a face's own coordinates the head is about 2 wide and 2.5 high around (0, 0), x grows to the
right and y downwards. Faces are drawn at four times their size and shrunk, for smooth edges. Ten
simulated annotators vote on each row, and disagree where the drawing is weak or mixed.
"""

from collections import namedtuple
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.emotions import FACE_SIZE, FER2013_CLASSES, FERPLUS_CLASSES, VOTE_COLUMNS
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.files import replacing, require_writable
from ferplus_keras.lazy import cv2

ANNOTATORS = 10
MINIMUM_ROWS = 400
"""Fewer rows would leave a class of the validation or test split with one row or none."""

_SPLIT_SHARES = {"Training": 0.8, "PublicTest": 0.1, "PrivateTest": 0.1}
_KIND_SHARES = {
    **{"neutral": 0.2, "happiness": 0.2, "surprise": 0.14, "sadness": 0.13, "anger": 0.11},
    **{"disgust": 0.06, "fear": 0.06, "contempt": 0.06, "blurred": 0.02, "not a face": 0.02},
}
_WEAK, _MIXED = 0.12, 0.08
"""Shares of the faces drawn weakly (towards neutral) and mixed (towards the neighbour)."""

_NEIGHBOURS = {
    **{"neutral": "contempt", "happiness": "contempt", "contempt": "happiness"},
    **{"surprise": "fear", "fear": "surprise", "sadness": "fear"},
    **{"anger": "disgust", "disgust": "anger"},
}
"""Class -> the class it is most easily taken for: gets stray votes and half of a mixed drawing."""

_SIDE = 4 * FACE_SIZE  # of the drawing, in pixels
_SUBPIXEL_BITS = 4  # cv2 takes fixed-point coordinates: sixteenths of a pixel

_MUSCLES = {
    "brow_height": (0, 0.2, 1, 0.1, -0.5, -0.4, 0.8, 0),  # + raised
    "brow_slant": (0, 0, 0, 0.9, -1, -0.3, 0.9, 0),  # + inner ends up (worry), - down (scowl)
    "eye_open": (0, -0.2, 0.6, -0.3, -0.2, -0.65, 0.5, -0.45),  # + wide, - narrowed
    "mouth_curve": (0, 1, 0, -0.9, -0.35, -0.55, -0.55, -0.1),  # + corners up
    "mouth_open": (0, 0.6, 1, 0, 0.4, 0.4, 0.5, 0),  # height of the opening
    "mouth_width": (0, 0.3, -0.55, -0.1, 0.15, -0.1, 0.25, -0.1),  # + stretched, - pursed
    "teeth": (0, 0.3, 0, 0, 1, 0, 0.7, 0),  # bared, in a mouth that grows square
    "disgust": (0, 0, 0, 0, 0, 1, 0, 0),  # a wrinkled nose, and the tongue below the lip
    "smirk": (0, 0, 0, 0, 0, 0, 0, 1),  # one brow and one corner of the mouth up, the head tilted
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
    "mouth_size": (0.36, 0.46),
}
"""What differs between people -> least and most."""

Person = namedtuple("Person", ["skin", "hair", "style", *_PROPORTIONS, "smirk_side"])
"""Grey values of skin and hair (0 to 255), style of the hair, proportions, and the side, -1 or 1,
of one-sided movements."""


class Drawing(NamedTuple):
    """One row of both files."""

    pixels: np.ndarray  # (48, 48) uint8
    votes: np.ndarray  # (10,) int64, columns as VOTE_COLUMNS
    emotion: int  # FER2013's own label, 0-6
    usage: str  # a value of `SPLITS`


def write_sample_data(
    out_dir: str | Path, *, rows: int = 2400, seed: int = 0, overwrite: bool = False
) -> Path:
    """Write fer2013.csv, fer2013new.csv and faces.png into a folder and return the folder.

    The same arguments write the same bytes. About 80 % of the rows are for training.

    Raises:
        UsageError: fewer than `MINIMUM_ROWS` rows, or a negative seed.
        InputError: the folder cannot be written, or without `overwrite` holds other such files.
    """
    if rows < MINIMUM_ROWS:
        reason = "so that every class is in every split"
        raise UsageError(f"expected at least {MINIMUM_ROWS} rows, {reason}; got {rows}.")
    if seed < 0:
        raise UsageError(f"expected a seed of at least 0; got {seed}.")
    out_dir = Path(out_dir)
    require_writable(out_dir, "OUT_DIR")
    drawings = draw_rows(rows, seed)
    faces = ["emotion,pixels,Usage"]
    votes = [f"Usage,Image name,{','.join(VOTE_COLUMNS)}"]
    number = 0
    for drawing in drawings:
        pixels = " ".join(map(str, drawing.pixels.ravel().tolist()))
        faces.append(f"{drawing.emotion},{pixels},{drawing.usage}")
        shows_face = drawing.votes[-1] < ANNOTATORS
        name = f"fer{number:07}.png" if shows_face else ""
        votes.append(",".join([drawing.usage, name, *map(str, drawing.votes)]))
        number += shows_face
    tables = {"fer2013.csv": faces, "fer2013new.csv": votes}
    contents = {name: "\n".join([*lines, ""]).encode() for name, lines in tables.items()}
    contents["faces.png"] = _contact_sheet(drawings)
    for name, content in contents.items():
        path = out_dir / name
        if not overwrite and path.is_file() and path.read_bytes() != content:
            raise InputError(
                f"expected {path} not to exist or to hold this data set; it holds something "
                "else: choose another folder, or use --overwrite"
            )
    for name, content in contents.items():
        with replacing(out_dir / name) as partial:
            partial.write_bytes(content)
    return out_dir


def draw_rows(rows: int, seed: int) -> list[Drawing]:
    """Return so many rows, in the files' order."""
    drawings = []
    streams = np.random.SeedSequence(seed).spawn(len(_SPLIT_SHARES))
    for (usage, count), stream in zip(_divide(rows, _SPLIT_SHARES), streams, strict=True):
        rng = np.random.default_rng(stream)
        kinds = [kind for kind, times in _divide(count, _KIND_SHARES) for _ in range(times)]
        rng.shuffle(kinds)
        drawings += [_draw_row(kind, usage, rng) for kind in kinds]
    return drawings


def _divide(rows: int, shares: dict[str, float]) -> list[tuple[str, int]]:
    """Return names with numbers of rows in these shares; the numbers add up to `rows`."""
    bounds = np.rint(rows * np.cumsum([0.0, *shares.values()])).astype(int)
    return list(zip(shares, np.diff(bounds).tolist(), strict=True))


def _draw_row(kind: str, usage: str, rng: np.random.Generator) -> Drawing:
    """Draw one row of a kind of `_KIND_SHARES` and let the annotators vote."""
    chances = dict.fromkeys(VOTE_COLUMNS, 0.0)
    if kind == "not a face":
        emotion, votes = int(rng.integers(len(FER2013_CLASSES))), np.array([0] * 9 + [ANNOTATORS])
        return Drawing(_draw_pattern(rng), votes, emotion, usage)
    if kind == "blurred":
        chances |= {"unknown": 0.75, "neutral": 0.15, "NF": 0.1}
        pixels = cv2.blur(draw_face(EXPRESSIONS["neutral"], draw_person(rng), rng), (21, 21))
    else:
        other, share = "neutral", rng.beta(1, 14)  # how far from the full expression
        if kind != "neutral":
            drawn = rng.random()
            if drawn < _WEAK:
                share = rng.uniform(0.25, 0.75)
            elif drawn < _WEAK + _MIXED:
                other, share = _NEIGHBOURS[kind], rng.uniform(0.25, 0.6)
        taken_for_other = 1 / (1 + np.exp((0.55 - share) / 0.06))
        stray = 0.08
        chances[kind] += (1 - stray) * (1 - taken_for_other)
        chances[other] += (1 - stray) * taken_for_other
        for column, part in ((_NEIGHBOURS[kind], 0.5), ("neutral", 0.3), ("unknown", 0.2)):
            chances[column] += part * stray
        expression = blend(EXPRESSIONS[kind], EXPRESSIONS[other], share)
        pixels = draw_face(expression, draw_person(rng), rng)
    votes = rng.multinomial(ANNOTATORS, [chances[column] for column in VOTE_COLUMNS])
    seen = kind if kind in FER2013_CLASSES else "neutral"  # FER2013 has no contempt
    return Drawing(pixels, votes, FER2013_CLASSES.index(seen), usage)


def _draw_pattern(rng: np.random.Generator) -> np.ndarray:
    """Return (48, 48) uint8 that shows no face: a wave and noise."""
    y, x = np.mgrid[:FACE_SIZE, :FACE_SIZE]
    angle, waves = rng.uniform(0, np.pi), rng.uniform(0.15, 0.9)
    pattern = np.sin(waves * (np.cos(angle) * x + np.sin(angle) * y))
    grey = rng.uniform(70, 180) + rng.uniform(20, 70) * pattern + rng.normal(0, 8, pattern.shape)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def _contact_sheet(drawings: list[Drawing]) -> bytes:
    """Return a PNG: a column per class with its name and its three clearest drawings, enlarged."""
    side, font, columns = 96, (cv2.FONT_HERSHEY_SIMPLEX, 0.45), []
    for index, name in enumerate(FERPLUS_CLASSES):
        clear = sorted(drawings, key=lambda drawing: -drawing.votes[index])[:3]
        faces = [cv2.resize(d.pixels, (side, side), interpolation=cv2.INTER_CUBIC) for d in clear]
        title = np.full((24, side), 255, np.uint8)
        (width, _), _ = cv2.getTextSize(name, *font, 1)
        cv2.putText(title, name, ((side - width) // 2, 16), *font, 0, 1, cv2.LINE_AA)
        columns.append(np.concatenate([title, *faces]))
    return cv2.imencode(".png", np.concatenate(columns, axis=1))[1].tobytes()


def blend(start: Expression, end: Expression, share: float) -> Expression:
    """Return the expression that lies `share` (0 to 1) of the way from `start` to `end`."""
    return Expression(*((1 - share) * np.array(start) + share * np.array(end)))


def draw_person(rng: np.random.Generator) -> Person:
    """Draw a person at random."""
    skin = rng.uniform(95, 225)
    hair = float(np.clip(skin - rng.uniform(55, 150), 15, 190))
    style = str(rng.choice(["short", "long", "bun", "bald"]))
    proportions = [rng.uniform(*limits) for limits in _PROPORTIONS.values()]
    return Person(skin, hair, style, *proportions, int(rng.choice([-1, 1])))


def draw_face(expression: Expression, person: Person, rng: np.random.Generator) -> np.ndarray:
    """Draw one face, (48, 48) uint8, 0-255; `rng` draws wall, place, size, light and noise."""
    canvas = np.full((_SIDE, _SIDE), rng.uniform(40, 220), np.uint8)
    scale = _SIDE * (0.39 + rng.uniform(-0.045, 0.045))
    centre = _SIDE * (np.array([0.5, 0.54]) + rng.uniform(-0.05, 0.05, 2))
    tilt = np.deg2rad(12 * expression.smirk * person.smirk_side + rng.normal(0, 4))
    draw_head(Pen(canvas, scale, tilt, centre), person, expression)
    small = cv2.resize(canvas, (FACE_SIZE, FACE_SIZE), interpolation=cv2.INTER_AREA)
    direction, ramp = rng.uniform(0, 2 * np.pi), np.linspace(-1, 1, FACE_SIZE)
    light = np.cos(direction) * ramp + np.sin(direction) * ramp[:, None]  # from one side
    lit = small * (1 + rng.uniform(0, 0.3) * light)
    lit = 128 + (lit - 128) * (1 + rng.uniform(-0.3, 0.15))  # the camera's contrast
    lit += rng.uniform(-20, 20) + rng.normal(0, rng.uniform(1, 7), lit.shape)
    return np.clip(np.rint(lit), 0, 255).astype(np.uint8)


class Pen:
    """Draws smooth shapes on a grey canvas, given in face coordinates: points (n, 2)."""

    def __init__(self, canvas: np.ndarray, scale: float, angle: float, centre: np.ndarray):
        turn = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
        self._canvas, self._turn, self._centre = canvas, scale * np.array(turn), centre
        self._scale = scale

    def _pixels(self, points: np.ndarray) -> list[np.ndarray]:
        pixels = (np.asarray(points, float) @ self._turn + self._centre) * 2**_SUBPIXEL_BITS
        return [np.rint(pixels).astype(np.int32)[:, None]]

    def fill(self, points: np.ndarray, grey: float) -> None:
        """Fill an outline."""
        cv2.fillPoly(self._canvas, self._pixels(points), grey, cv2.LINE_AA, _SUBPIXEL_BITS)

    def line(self, points: np.ndarray, grey: float, width: float) -> None:
        """Draw a line."""
        style = (max(1, round(width * self._scale)), cv2.LINE_AA, _SUBPIXEL_BITS)
        cv2.polylines(self._canvas, self._pixels(points), False, grey, *style)


def oval(x, y, half_width, half_height, start=0.0, end=360.0) -> np.ndarray:
    """Return points (40, 2) of an ellipse's arc; degrees from +x towards +y, that is downwards."""
    angles = np.deg2rad(np.linspace(start, end, 40))
    return np.column_stack([x + half_width * np.cos(angles), y + half_height * np.sin(angles)])


def draw_head(pen: Pen, person: Person, face: Expression) -> None:
    """Draw a person's head and shoulders with an expression."""
    skin, hair, style, height, *_ = person
    if style == "long":
        pen.fill(oval(0, 0.1, 1.22, height + 0.15), hair)
        pen.fill([(-1.22, 0), (1.22, 0), (1.1, 2), (-1.1, 2)], hair)
    pen.fill([(-0.45, 0.8), (0.45, 0.8), (0.5, 2), (-0.5, 2)], 0.78 * skin)
    pen.fill(oval(0, 2.35, 1.5, 0.85), 0.5 * hair + 40)
    for side in (-1, 1):
        pen.fill(oval(side, 0.08, 0.16, 0.24), 0.86 * skin)
    pen.fill(oval(0, 0, 1, height), skin)
    _draw_eyes(pen, person, face)
    _draw_nose_and_mouth(pen, person, face)
    if style != "bald":
        hairline = oval(0, -0.3, 0.95, 0.5 * height, 350, 190)
        pen.fill(np.concatenate([oval(0, 0.02, 1.06, height + 0.1, 195, 345), hairline]), hair)
    if style == "bun":
        pen.fill(oval(0, -height - 0.12, 0.36, 0.3), hair)


def _draw_eyes(pen: Pen, person: Person, face: Expression) -> None:
    y, width, iris = -0.12, 0.23 * person.eye_size, 0.115 * person.eye_size
    opening = 0.17 * person.eye_size * max(0.12, 1 + face.eye_open)
    dark, along = 0.3 * min(person.hair, person.skin), np.linspace(-1, 1, 9)
    for side in (-1, 1):
        x = side * person.eye_distance
        pen.fill(oval(x, y, width, opening), np.clip(person.skin + 75, 215, 255))
        pen.fill(oval(x, y, iris, min(iris, 0.95 * opening)), 25)
        pen.fill(oval(x + 0.04, y - 0.3 * min(iris, opening), 0.035, 0.035), 240)
        pen.line(oval(x, y, width, opening, 180, 360), dark, 0.05)
        pen.line(oval(x, y, width, opening, 20, 160), 0.75 * person.skin, 0.03)
        raised = face.brow_height + 0.8 * face.smirk * side * person.smirk_side
        brow = y - 0.36 - 0.15 * raised + 0.15 * face.brow_slant * along + 0.05 * along**2
        pen.line(np.column_stack([x + side * (0.02 + 0.27 * along), brow]), dark, 0.095)


def _draw_nose_and_mouth(pen: Pen, person: Person, face: Expression) -> None:
    tip, skin = 0.35 - 0.06 * face.disgust, person.skin
    pen.line(oval(0, tip, 0.14, 0.09, 0, 180), 0.68 * skin, 0.05)
    for side in (-1, 1):
        fold = [(side * 0.06, tip - 0.3), (side * 0.2, tip - 0.15)]
        pen.line(fold, skin * (1 - 0.4 * max(face.disgust, 0.0)), 0.06)
    along = np.linspace(-1, 1, 33)
    smirk = face.smirk * np.clip(along * person.smirk_side, 0, 1) ** 2
    middle = 0.66 - 0.2 * face.mouth_curve * (along**2 - 0.5) - 0.34 * smirk
    opening = np.sqrt(1 - np.abs(along) ** (2 + 6 * max(face.teeth, 0.0)))
    opening *= 0.46 * max(face.mouth_open, 0.0)
    x = person.mouth_size * (1 + 0.8 * face.mouth_width) * along
    upper, lower = middle - 0.4 * opening, middle + 0.6 * opening

    def between(high: np.ndarray, low: np.ndarray) -> np.ndarray:
        return np.concatenate([np.column_stack([x, high]), np.column_stack([x, low])[::-1]])

    if face.mouth_open > 0.05:
        pen.fill(between(upper, lower), 30)
        if face.teeth > 0.1:
            pen.fill(between(upper, upper + (0.2 + 0.8 * face.teeth) * opening), 235)
    if face.disgust > 0.1:
        chin = 0.66 + 0.3 * opening.max() + 0.12 * face.disgust
        pen.fill(oval(0, chin, 0.17, 0.2 * face.disgust), 0.55 * skin + 20)
    for lip in (upper, lower):
        pen.line(np.column_stack([x, lip]), 0.42 * skin, 0.06)
