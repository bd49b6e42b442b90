"""The drawn data set: fer2013.csv and fer2013new.csv in their real formats, from a seed.

It lets every command run without the licensed faces. Eight expressions are drawn with differing
people, places, light and noise; ten simulated annotators vote on each row, and disagree where the
drawing is weak or mixed.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferplus_keras.emotions import FACE_SIZE, FER2013_CLASSES, FERPLUS_CLASSES, VOTE_COLUMNS
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.files import replacing

ANNOTATORS = 10
MINIMUM_ROWS = 400
"""Fewer rows would leave a class of the validation or test split with one row or none."""

SPLIT_SHARES = {"Training": 0.8, "PublicTest": 0.1, "PrivateTest": 0.1}
"""`Usage` -> share of the rows, in the files' order of rows; FER2013's own proportions."""

_KINDS = (*FERPLUS_CLASSES, "from behind", "not a face")
KIND_SHARES = dict(
    zip(_KINDS, (0.2, 0.2, 0.14, 0.13, 0.11, 0.06, 0.06, 0.06, 0.02, 0.02), strict=True)
)
"""What a row shows -> share of the rows: uneven like FER+, but every class can be learnt."""

NEIGHBOURS = {
    **{"neutral": "contempt", "happiness": "contempt", "contempt": "happiness"},
    **{"surprise": "fear", "fear": "surprise", "sadness": "fear"},
    **{"anger": "disgust", "disgust": "anger"},
}
"""Class -> the class it is most easily taken for: gets stray votes and half of a mixed drawing."""

WEAK_SHARE, MIXED_SHARE = 0.12, 0.08
"""Shares of the faces drawn weakly (towards neutral) and mixed (towards the neighbour)."""

_NOT_A_FACE = np.where(np.array(VOTE_COLUMNS) == "NF", ANNOTATORS, 0)


class Drawing(NamedTuple):
    """One row of both files."""

    pixels: np.ndarray  # (48, 48) uint8
    votes: np.ndarray  # (10,) int64, columns as VOTE_COLUMNS
    emotion: int  # FER2013's own label, 0-6


def write_sample_data(
    out_dir: str | Path, *, rows: int = 2400, seed: int = 0, overwrite: bool = False
) -> Path:
    """Draw the data set and write fer2013.csv, fer2013new.csv and faces.png into a folder.

    The same arguments write the same bytes; files that are there already with these bytes are
    left alone.

    Args:
        out_dir: folder, created when missing.
        rows: rows over all three splits; about 80 % are for training.
        seed: of everything random, at least 0.
        overwrite: replace files that hold something else.

    Returns:
        The folder.

    Raises:
        UsageError: fewer than `MINIMUM_ROWS` rows, or a negative seed.
        InputError: a file of that name holds something else, or the folder cannot be written.
    """
    if rows < MINIMUM_ROWS:
        raise UsageError(
            f"expected at least {MINIMUM_ROWS} rows, so that every class is in every split; "
            f"got {rows}."
        )
    if seed < 0:
        raise UsageError(f"expected a seed of at least 0; got {seed}.")
    usages, drawings = draw_rows(rows, seed)
    contents = {
        "fer2013.csv": _text(["emotion", "pixels", "Usage"], _faces(usages, drawings)),
        "fer2013new.csv": _text(["Usage", "Image name", *VOTE_COLUMNS], _votes(usages, drawings)),
        "faces.png": _contact_sheet(drawings),
    }
    out_dir = Path(out_dir)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        for path, content in ((out_dir / name, content) for name, content in contents.items()):
            if not overwrite and path.exists() and path.read_bytes() != content:
                raise InputError(
                    f"expected {path} not to exist or to hold this data set; it holds something "
                    "else: choose another folder, or use --overwrite"
                )
        for name, content in contents.items():
            with replacing(out_dir / name) as partial:
                partial.write_bytes(content)
    except OSError as error:
        raise InputError(f"cannot write the sample data into {out_dir}: {error}") from error
    return out_dir


def draw_rows(rows: int, seed: int) -> tuple[list[str], list[Drawing]]:
    """Return the `Usage` of so many rows, in the files' order, and the drawings."""
    usages, drawings = [], []
    streams = np.random.SeedSequence(seed).spawn(len(SPLIT_SHARES))
    for (usage, count), stream in zip(_divide(rows, SPLIT_SHARES), streams, strict=True):
        rng = np.random.default_rng(stream)
        kinds = [kind for kind, times in _divide(count, KIND_SHARES) for _ in range(times)]
        rng.shuffle(kinds)
        drawings += [_draw_row(kind, rng) for kind in kinds]
        usages += [usage] * len(kinds)
    return usages, drawings


def _divide(rows: int, shares: dict[str, float]) -> list[tuple[str, int]]:
    """Return names with numbers of rows in these shares; the numbers add up to `rows`."""
    bounds = np.rint(rows * np.cumsum([0.0, *shares.values()])).astype(int)
    return list(zip(shares, np.diff(bounds).tolist(), strict=True))


def _draw_row(kind: str, rng: np.random.Generator) -> Drawing:
    """Draw one row of a kind of `KIND_SHARES` and let the annotators vote."""
    from ferplus_keras.data.drawn_face import EXPRESSIONS, blend, draw_face, draw_person

    chances = dict.fromkeys(VOTE_COLUMNS, 0.0)
    if kind == "not a face":
        emotion = int(rng.integers(len(FER2013_CLASSES)))
        return Drawing(_draw_pattern(rng), _NOT_A_FACE, emotion)
    if kind == "from behind":
        chances |= {"unknown": 0.75, "neutral": 0.15, "NF": 0.1}
        pixels = draw_face(EXPRESSIONS["neutral"], draw_person(rng), rng, from_behind=True)
    else:
        other, share = "neutral", rng.beta(1, 14)  # how far from the full expression
        if kind != "neutral":
            drawn = rng.random()
            if drawn < WEAK_SHARE:
                share = rng.uniform(0.25, 0.75)
            elif drawn < WEAK_SHARE + MIXED_SHARE:
                other, share = NEIGHBOURS[kind], rng.uniform(0.25, 0.6)
        taken_for_other = 1 / (1 + np.exp((0.55 - share) / 0.06))
        stray = 0.08
        chances[kind] += (1 - stray) * (1 - taken_for_other)
        chances[other] += (1 - stray) * taken_for_other
        chances[NEIGHBOURS[kind]] += 0.5 * stray
        chances["neutral"] += 0.3 * stray
        chances["unknown"] += 0.2 * stray
        expression = blend(EXPRESSIONS[kind], EXPRESSIONS[other], share)
        pixels = draw_face(expression, draw_person(rng), rng)
    votes = rng.multinomial(ANNOTATORS, [chances[column] for column in VOTE_COLUMNS])
    seen = kind if kind in FER2013_CLASSES else "neutral"  # FER2013 has no contempt
    return Drawing(pixels, votes, FER2013_CLASSES.index(seen))


def _draw_pattern(rng: np.random.Generator) -> np.ndarray:
    """Return (48, 48) uint8 that shows no face: stripes, a wave, or noise."""
    y, x = np.mgrid[:FACE_SIZE, :FACE_SIZE]
    angle, waves = rng.uniform(0, np.pi), rng.uniform(0.15, 0.9)
    pattern = np.sin(waves * (np.cos(angle) * x + np.sin(angle) * y))
    pattern = np.sign(pattern) if rng.random() < 0.5 else pattern
    grey = rng.uniform(70, 180) + rng.uniform(20, 70) * pattern + rng.normal(0, 8, pattern.shape)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def _faces(usages: list[str], drawings: list[Drawing]) -> Iterable[list]:
    for usage, drawing in zip(usages, drawings, strict=True):
        yield [drawing.emotion, " ".join(map(str, drawing.pixels.ravel().tolist())), usage]


def _votes(usages: list[str], drawings: list[Drawing]) -> Iterable[list]:
    number = 0
    for usage, drawing in zip(usages, drawings, strict=True):
        shows_face = drawing.votes is not _NOT_A_FACE  # other rows have no image name
        yield [usage, f"fer{number:07}.png" if shows_face else "", *drawing.votes.tolist()]
        number += shows_face


def _text(header: list[str], rows: Iterable[list]) -> bytes:
    return b"".join(",".join(map(str, row)).encode() + b"\n" for row in (header, *rows))


def _contact_sheet(drawings: list[Drawing], rows: int = 3, side: int = 96) -> bytes:
    """Return a PNG: a column per class with its name and its first unanimous drawings, enlarged."""
    import cv2

    columns = []
    for index, name in enumerate(FERPLUS_CLASSES):
        clear = sorted(drawings, key=lambda drawing: -drawing.votes[index])[:rows]
        title = np.full((24, side), 255, np.uint8)
        (width, _), _ = cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
        place = ((side - width) // 2, 16)
        cv2.putText(title, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 0, 1, cv2.LINE_AA)
        large = {"dsize": (side, side), "interpolation": cv2.INTER_CUBIC}
        columns.append(
            np.concatenate([title, *(cv2.resize(drawing.pixels, **large) for drawing in clear)])
        )
    return cv2.imencode(".png", np.concatenate(columns, axis=1))[1].tobytes()
