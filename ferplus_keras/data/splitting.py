"""The splits of own pictures: as given, else by a hash; the pictures of a person stay together."""

import hashlib
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ferplus_keras.data.layouts import FaceFile, split_of
from ferplus_keras.errors import InputError, UsageError

_SALT = b"ferplus_keras split"
_PEOPLE_COLUMN = re.compile(
    "(?i).*(subject|person|identity|actor|patient|participant|user|sequence|video|clip).*"
)
_PEOPLE = (
    r"^S\d{3}(?=_\d{3}_\d)",  # CK+: S010_004_00000017.png
    r"^[A-Z]{2}(?=\.[A-Z]{2}\d\.\d)",  # JAFFE: KA.AN1.39.tiff
    r"^.+(?=_\d{9}_\d{8}\.)",  # SFEW: Airheads_000519240_00000005.png
    r"(?i)^(?:subject|subj|sub|person|actor|user|patient|participant|id|p|s)[-_ ]?\d+(?=[-_. ])",
    r"(?<=/)[^/]+(?=/[^/]+$)",  # a folder below the class
    r"^.+(?=[-_. ][a-zA-Z]{0,5}\d+\.\w+$)",  # a name and a number: Ann_Lee_0001.jpg, clip3_f007.png
)
"""What the names of pictures of one person, film or sequence share, as --group takes it."""


def find_groups(files: Sequence[FaceFile], group: str) -> list[FaceFile]:
    """Return files with their groups: a column of their list, or what a pattern finds in the name.

    The pattern's first bracket counts, if it has one. One with a / is searched for in the path.

    Raises:
        UsageError: `group` is neither, or a file has no group.
    """
    try:
        found = _groups(files, group)
    except re.error as error:
        raise UsageError(f"--group {group}: expected a column or a pattern ({error})") from None
    for file, name in zip(files, found, strict=True):
        if not name:
            columns = f" of {', '.join(file.fields)}" if file.fields else ""
            raise UsageError(
                f"--group {group}: expected a column{columns}, or a pattern that is found in every "
                f"name; {file.path} has none (--group '' divides without)"
            )
    return [file._replace(group=name) for file, name in zip(files, found, strict=True)]


def _groups(files: Sequence[FaceFile], group: str) -> list[str | None]:
    if files and group in files[0].fields:
        return [file.fields.get(group) or None for file in files]
    pattern = re.compile(group)
    names = (file.path if "/" in group else file.path.rpartition("/")[2] for file in files)
    found = (pattern.search(name) for name in names)
    return [match and match[min(pattern.groups, 1)] for match in found]


def digest(content: bytes) -> int:
    """Return the hash of pixels or names that decides on splits, 64 bits."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8, key=_SALT).digest(), "big")


def divide(files: Sequence[FaceFile], digests: np.ndarray) -> np.ndarray:
    """Return the split of every file, (n,) str; splits that none has take a tenth of training each.

    The tenth is chosen by the digests of the pixels, (n,) uint64: equal pictures stay together,
    every class keeps its share on average, and files that are added later move none of the others.
    Where files have groups, their names count instead, and each split gets at least one if it can.

    Raises:
        InputError: a group has files in several of the given splits.
    """
    given = {file.split for file in files}
    wanted = {i: name for i, name in enumerate(("validation", "test")) if name not in given}
    splits = np.array([file.split or "train" for file in files], "<U10")
    groups = [file.group for file in files if file.group]
    for name, found in found_in(groups, splits).items() if groups else ():
        if len(found) > 1:
            shown = " and ".join(sorted(found))
            raise InputError(
                f"--group: '{name}' has pictures in {shown}; move them into one of these splits"
            )
    named = [digest(name.encode("utf-8", "surrogateescape")) for name in groups]
    hashes = np.array(named, np.uint64) if groups else digests
    free = splits == "train"
    for number, name in wanted.items():
        splits[free & (hashes % 10 == number)] = name
    for name in wanted.values() if groups else ():
        left = np.unique(hashes[splits == "train"])
        if name not in splits and left.size > 1:
            splits[free & (hashes == left[0])] = name
    return splits


def found_in(groups: Iterable[Any], values: Iterable[str]) -> dict[Any, set[str]]:
    """Return each group with the values, such as splits, of its members."""
    of_group = defaultdict(set)
    for group, value in zip(groups, values, strict=True):
        of_group[group].add(value)
    return of_group


def warn_of_people(files: Sequence[FaceFile], splits: np.ndarray) -> None:
    """Warn if people or sequences, recognised by names or columns, are in several splits."""
    columns = [name for name in files[0].fields if _PEOPLE_COLUMN.fullmatch(name)]
    labels = [file.label for file in files]
    classes = len(set(labels))
    sample = files[:: 1 + len(files) // 500]
    for group in (*columns, *_PEOPLE) if not files[0].box else ():
        if _groups(sample, group).count(None) > len(sample) / 10:
            continue
        found = _groups(files, group)
        of_group = found_in(found, splits).items()
        of_group = {name: of for name, of in of_group if name and not split_of(name)}
        fewest = 2 + classes if group == _PEOPLE[-1] else 2
        named_by_class = len(set(zip(found, labels, strict=True))) == len(of_group) == classes
        if fewest <= len(of_group) <= len(files) / 2 and not named_by_class:
            shared = [name for name, found in of_group.items() if len(found) > 1]
            if shared:
                given = found_in(found, [file.split or "train" for file in files])
                advice = f"--group '{group}' keeps each in one split"
                if any(len(given[name]) > 1 for name in shared):  # --group would refuse them
                    advice = "the splits are given so: move each into one of them"
                print(
                    f"warning: {len(shared)} people or sequences have pictures in several splits, "
                    f"by the look of {files[0].path}; {advice}",
                    file=sys.stderr,
                )
            return
