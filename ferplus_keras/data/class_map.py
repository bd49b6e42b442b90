"""Merge, rename and leave out classes: `--class_map`, and the data sets that lack a class."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ferplus_keras.data.labels import Labels
from ferplus_keras.data.targets import DISTRIBUTION, TargetKind
from ferplus_keras.errors import InputError, UsageError, unknown

LEFT_OUT = "the class is left out"


class ClassMap(NamedTuple):
    """New classes and what they are made of.

    Attributes:
        names: the C new classes, in the order of the targets.
        members: of each, the old classes it is made of; none for a class without any row.
    """

    names: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]

    def arranged(self, names: Sequence[str]) -> "ClassMap":
        """Return the map in the order of `names`; raises InputError where they lack a class."""
        extra = [name for name in self.names if name not in names]
        if extra:
            raise InputError(
                f"the data has the class '{extra[0]}', expected only {', '.join(names)}; "
                "rename it, or use --class_map NEW=OLD …"
            )
        members = dict(zip(self.names, self.members, strict=True))
        return ClassMap(tuple(names), tuple(members.get(name, ()) for name in names))


def find_class_map(entries: Sequence[str] | None, class_names: Sequence[str]) -> ClassMap:
    """Return the classes that `entries` make of the old classes `class_names`.

    Each entry is "NEW=OLD" or "NEW=OLD+OLD"; old classes that no entry names are left out. None
    leaves every class as it is.

    Raises:
        UsageError: an entry is not of that form, names an unknown class or one that is named
            already, or there are fewer than two new classes.
    """
    if entries is None:
        return ClassMap(tuple(class_names), tuple((name,) for name in class_names))
    members: dict[str, tuple[str, ...]] = {}
    named: set[str] = set()
    for entry in entries:
        new, _, old = (part.strip() for part in entry.partition("="))
        if new in members:
            raise UsageError(
                f"--class_map: '{new}' appears before '=' twice; join its classes with '+'"
            )
        members[new] = tuple(name.strip() for name in old.split("+"))
        if not new or not all(members[new]):
            raise UsageError(
                f"--class_map: expected NEW=OLD or NEW=OLD+OLD, such as negative=sadness+anger, "
                f"got '{entry}'"
            )
        for name in members[new]:
            if name not in class_names:
                raise unknown("class in --class_map", name, class_names)
            if name in named:
                raise UsageError(
                    f"--class_map: the class '{name}' is named twice; it can go to only one class"
                )
            named.add(name)
    if len(members) < 2:
        raise UsageError(
            f"--class_map: expected two new classes or more, got {len(members)}; classes that are "
            "to stay as they are must be named too, such as neutral=neutral"
        )
    return ClassMap(tuple(members), tuple(members.values()))


def merge_classes(
    labels: Labels,
    class_names: Sequence[str],
    class_map: ClassMap,
    kind: TargetKind = DISTRIBUTION,
) -> Labels:
    """Return labels of the old classes `class_names`, merged as the kind of the targets says."""
    if class_map == find_class_map(None, class_names):
        return labels
    members = np.array(
        [[old in of_new for of_new in class_map.members] for old in class_names], np.float32
    )
    targets, lost = kind.merge(labels.targets, members)
    return Labels(targets, labels.keep, labels.reasons).without(lost, LEFT_OUT)
