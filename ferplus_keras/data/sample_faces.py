"""The drawn data set: fer2013.csv and fer2013new.csv in their real formats, from a seed.

Ten simulated annotators vote on each row, and disagree where the drawing is weak or mixed.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.data.drawn_face import EXPRESSIONS, blend, draw_face, draw_person
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


class Drawing(NamedTuple):
    """One row of both files."""

    pixels: np.ndarray  # (48, 48) uint8
    votes: np.ndarray  # (10,) int64, columns as VOTE_COLUMNS
    emotion: int  # FER2013's own label, 0-6


def write_sample_data(
    out_dir: str | Path, *, rows: int = 2400, seed: int = 0, overwrite: bool = False
) -> Path:
    """Write fer2013.csv, fer2013new.csv and faces.png into a folder and return the folder.

    The same arguments write the same bytes. About 80 % of the rows are for training.

    Raises:
        UsageError: fewer than `MINIMUM_ROWS` rows, or a negative seed.
        InputError: a file of that name holds something else and is not to be overwritten, or the
            folder cannot be written.
    """
    if rows < MINIMUM_ROWS:
        reason = "so that every class is in every split"
        raise UsageError(f"expected at least {MINIMUM_ROWS} rows, {reason}; got {rows}.")
    if seed < 0:
        raise UsageError(f"expected a seed of at least 0; got {seed}.")
    out_dir = Path(out_dir)
    require_writable(out_dir, "OUT_DIR")
    usages, drawings = draw_rows(rows, seed)
    faces = ["emotion,pixels,Usage"]
    votes = [f"Usage,Image name,{','.join(VOTE_COLUMNS)}"]
    number = 0
    for usage, drawing in zip(usages, drawings, strict=True):
        pixels = " ".join(map(str, drawing.pixels.ravel().tolist()))
        faces.append(f"{drawing.emotion},{pixels},{usage}")
        shows_face = drawing.votes[-1] < ANNOTATORS
        name = f"fer{number:07}.png" if shows_face else ""
        votes.append(",".join([usage, name, *map(str, drawing.votes)]))
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


def draw_rows(rows: int, seed: int) -> tuple[list[str], list[Drawing]]:
    """Return the `Usage` of so many rows, in the files' order, and the drawings."""
    usages, drawings = [], []
    streams = np.random.SeedSequence(seed).spawn(len(_SPLIT_SHARES))
    for (usage, count), stream in zip(_divide(rows, _SPLIT_SHARES), streams, strict=True):
        rng = np.random.default_rng(stream)
        kinds = [kind for kind, times in _divide(count, _KIND_SHARES) for _ in range(times)]
        rng.shuffle(kinds)
        drawings += [_draw_row(kind, rng) for kind in kinds]
        usages += [usage] * len(kinds)
    return usages, drawings


def _divide(rows: int, shares: dict[str, float]) -> list[tuple[str, int]]:
    """Return names with numbers of rows in these shares; the numbers add up to `rows`."""
    bounds = np.rint(rows * np.cumsum([0.0, *shares.values()])).astype(int)
    return list(zip(shares, np.diff(bounds).tolist(), strict=True))


def _draw_row(kind: str, rng: np.random.Generator) -> Drawing:
    """Draw one row of a kind of `_KIND_SHARES` and let the annotators vote."""
    chances = dict.fromkeys(VOTE_COLUMNS, 0.0)
    if kind == "not a face":
        emotion, votes = int(rng.integers(len(FER2013_CLASSES))), np.array([0] * 9 + [ANNOTATORS])
        return Drawing(_draw_pattern(rng), votes, emotion)
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
    return Drawing(pixels, votes, FER2013_CLASSES.index(seen))


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
