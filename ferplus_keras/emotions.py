"""The classes, their orders, and the names of the splits: the only list of each.

FER2013 and FER+ number the emotions differently; the names here are FER+'s for both.
"""

from collections.abc import Iterable, Sequence
from unicodedata import normalize

from ferplus_keras.errors import InputError
from ferplus_keras.inputs import FORMULA

FERPLUS_CLASSES = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
)
"""FER+ classes in the column order of fer2013new.csv (Barsoum et al. 2016)."""

VOTE_COLUMNS = (*FERPLUS_CLASSES, "unknown", "NF")
"""The ten vote columns of fer2013new.csv; NF is "not a face"."""

FER2013_CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""FER2013 classes in the order of the `emotion` column of fer2013.csv, 0 to 6."""

SPELLINGS = {
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
}
"""Other common spellings of the classes, FER2013's among them."""

SPLITS = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
"""Split name here -> value of the `Usage` column in both CSV files."""

FACE_SIZE = 48
"""Side of a FER2013 face in pixels."""


def usual_name(name: object) -> str:
    """Return a class name as it is spelled here: "anger" for "Angry"; others in lower case."""
    folded = normalize("NFC", str(name).strip().casefold())  # macOS decomposes names of files
    return SPELLINGS.get(folded, folded)


def places_in(held: Sequence[str], names: Sequence[str]) -> tuple[int, ...] | None:
    """Return where `held` has each of the names, whatever their spelling; None if it has others."""
    spelt = str if sorted(held) == sorted(names) else usual_name
    there, wanted = ([*map(spelt, each)] for each in (held, names))
    return tuple(map(there.index, wanted)) if sorted(there) == sorted(wanted) else None


def check_class_names(names: Iterable[str], source: str) -> None:
    """Refuse names that repeat, cannot be printed, or that a spreadsheet would run as a formula.

    Raises:
        InputError: for the first such name; the message begins with `source`.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{source}: expected each class once, got {name!r} again")
        seen.add(name)
        if not name.isprintable() or not name.strip():
            raise InputError(f"{source}: expected a class name that can be printed, got {name!r}")
        if name[0] in FORMULA and not name[1:].replace(".", "").isdecimal():
            raise InputError(f"{source}: a class name may not begin with {name[0]}, got {name!r}")
