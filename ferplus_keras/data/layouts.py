"""Folders of pictures: which files are faces, their labels and their splits."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from ferplus_keras.data.pictures import SUFFIXES, files_below
from ferplus_keras.emotions import SPLITS
from ferplus_keras.errors import InputError, unknown
from ferplus_keras.registry import Registry

_RAF_DB = "surprise fear disgust happiness sadness anger neutral"
RAF_DB = dict(zip("1234567", _RAF_DB.split(), strict=True))
_AFFECTNET = "neutral happiness sadness surprise fear disgust anger contempt"
AFFECTNET = dict(zip("01234567", _AFFECTNET.split(), strict=True))
"""Classes by the numbers that RAF-DB and AffectNet give them."""

_SPLIT_WORD = re.compile(
    "(?:(train|training)|(val|valid|validation|dev|publictest)|(test|testing|privatetest))"
    "(?:set|data|images|faces)?"
)
_EMOTION = re.compile("(?i)(?<![a-z])(?:ang(er|ry)|happ|sad|fear|disgust|surpris|neutral|contempt)")
_PERSON = re.compile(
    r"(?i)[AB][FM]\d\d|[PS]\d{3}|(?:subject|subj|sub|person|actor|participant)[-_ ]?\d+"
)
"""A folder of one person, as KDEF, CK+ and others have them."""


class FaceFile(NamedTuple):
    """One picture of a face."""

    path: str  # below the data folder, with /; of a file that holds several, FILE#WHICH
    label: str
    split: str | None  # where it is given
    box: tuple[int, ...] | None = None  # of the face: left, top, right, bottom
    row: tuple[int, int] | None = None  # of a Parquet file: row group, row in it
    fields: Mapping[str, str] = MappingProxyType({})  # further columns of a list
    group: str | None = None  # whose pictures are to stay in one split

    @property
    def file(self) -> str:
        """The file below the data folder."""
        whole = not self.row and (not self.box or self.path.lower().endswith(SUFFIXES))
        return self.path if whole else self.path.rpartition("#")[0]


class Tree(NamedTuple):
    """The files below a folder, as sorted paths with / between names; hidden ones left out."""

    folder: Path
    pictures: list[str]
    others: list[str]

    def named(self, *names: str) -> list[str]:
        """Return the paths of other files with one of these names."""
        return [path for path in self.others if path.rpartition("/")[2] in names]

    def skip(self, paths: Sequence[str], why: str) -> None:
        """Warn of files that are not read."""
        if paths:
            files = "1 file" if len(paths) == 1 else f"{len(paths)} files"
            found = f"skipped {files} in {self.folder} {why}, such as {min(paths)}"
            print(f"warning: {found}", file=sys.stderr)


LAYOUTS: Registry[Callable[[Tree], list[FaceFile] | None]] = Registry("folder layout")
"""Name -> function from the files of a folder to its faces, None where they are laid out
otherwise. The last one entered that knows the folder is taken."""


def find_faces(folder: Path) -> tuple[str, list[FaceFile]]:
    """Return the name of a folder's layout and its faces, sorted by path.

    Raises:
        InputError: the layout has a fault or two meanings, or a folder or list cannot be read.
    """
    pictures, others = [], []
    for file in files_below(folder):
        kind = pictures if file.name.lower().endswith(SUFFIXES) else others
        kind.append(file.relative_to(folder).as_posix())
    tree = Tree(folder, sorted(pictures), sorted(others))
    found = ((name, LAYOUTS[name](tree)) for name in reversed(LAYOUTS))
    name, files = next((name, files) for name, files in found if files is not None)
    return name, sorted(files, key=lambda file: file.path)


@lru_cache(maxsize=1000)
def splits_in(name: str) -> frozenset[str]:
    """Return the splits that the words of a name mean, such as those of Train_Aligned_Faces."""
    words = [word.lower() for word in re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    meant = (_SPLIT_WORD.fullmatch(word) for word in words)
    found = frozenset(tuple(SPLITS)[match.lastindex - 1] for match in meant if match)
    return frozenset({"validation"}) if found == {"test"} and "public" in words else found


def split_of(*names: str) -> str | None:
    """Return the split meant by the last of the names that means exactly one; None for none.

    >>> [split_of(name) for name in ("Train_Aligned_Faces", "val_set", "PrivateTest", "happy")]
    ['train', 'validation', 'test', None]
    """
    found = (splits_in(name) for name in reversed(names))
    return next((next(iter(splits)) for splits in found if len(splits) == 1), None)


class _Place(NamedTuple):
    """What the names of the folders above a picture say."""

    split: str | None
    spelled: str  # the folders that name the split
    level: int | None  # which of the folders does, from the outside
    names: list[str]  # the others: the class, then what is nested in it


def _place(parts: Sequence[str]) -> _Place:
    splits = [split_of(part) for part in parts]
    names = [part for part in parts if not split_of(part)]
    meant = {*filter(None, splits)}.union(*map(splits_in, names[:1]))
    if len(meant) > 1:
        shown = " or ".join(sorted(meant))
        raise InputError(f"{'/'.join(parts)}: expected the folder of one split, found {shown}")
    split = next(iter(meant), None)
    level = splits.index(split) if split else None
    return _Place(split, "/".join(filter(split_of, parts)), level, names)


@LAYOUTS.register("folders of classes")
def _folders(tree: Tree) -> list[FaceFile]:
    """List CLASS/…, SPLIT/CLASS/… or CLASS/SPLIT/…, also below a folder that holds all of it."""
    above = [path.rpartition("/")[0] for path in tree.pictures]
    folders = {folder: folder.split("/") for folder in sorted({*above} - {""})}
    # Folders that hold all pictures, from the outside to the first that names a class or split.
    levels = map(set, zip(*(parts[:-1] for parts in folders.values()), strict=False))
    shared = (name for (name,) in takewhile(lambda names: len(names) == 1, levels))
    wrapping = [*takewhile(lambda name: not (splits_in(name) or _EMOTION.match(name)), shared)]
    places = {folder: _place(parts[len(wrapping) :]) for folder, parts in folders.items()}
    places = {folder: place for folder, place in places.items() if place.names}
    _refuse_mixture(tree.folder, places)
    classes = {place.names[0] for place in places.values()}
    inner = {"/".join(place.names[1:]) for place in places.values() if place.names[1:]}
    named = [name for name in inner if _EMOTION.search(name)]
    hidden = len(named) > len(inner) / 2 and not any(map(_EMOTION.match, classes))
    if hidden or (classes and all(map(_PERSON.fullmatch, classes))):
        shown = "/".join(min((not p.names[1:], p.names) for p in places.values())[1])
        raise InputError(
            f"{tree.folder}: expected the classes as outer folders, found {shown}; move the "
            "pictures, or list them in a labels.csv (docs/own_data.md)"
        )
    meaning: dict[str, str] = {}
    for name, numbers in (("RAF-DB", RAF_DB), ("AffectNet", AFFECTNET)):
        if classes == set(numbers):
            meaning = numbers
            shown = ", ".join(map(" ".join, numbers.items()))
            print(f"{tree.folder.name}: classes as {name} numbers them, {shown}", file=sys.stderr)
    found = list(zip(tree.pictures, map(places.get, above), strict=True))
    tree.skip([path for path, place in found if not place], "outside the folders of classes")
    others = [path for path in tree.others if path.rpartition("/")[0] in places]
    tree.skip(others, f"with none of the endings {', '.join(SUFFIXES)}")
    return [
        FaceFile(path, meaning.get(place.names[0], place.names[0]), place.split)
        for path, place in found
        if place
    ]


def _refuse_mixture(folder: Path, places: Mapping[str, _Place]) -> None:
    """Refuse splits that only some paths name, that have two folders or stand at several depths."""
    levels = {place.level: path for path, place in places.items()}
    if len(levels) > 1 and None in levels:
        raise unknown(f"split folder in {folder}", levels[None].partition("/")[0], SPLITS)
    spelled = {(place.split, place.spelled) for place in places.values() if place.level == 0}
    splits = [split for split, _ in spelled]
    found = sorted(name for split, name in spelled if splits.count(split) > 1)
    if found or len(levels) > 1:
        shown = " and ".join(found or sorted(levels.values()))
        raise InputError(f"{folder}: expected one folder for each split, found {shown}")
