"""What a checkpoint or an export says about itself, as JSON inside the file."""

from __future__ import annotations  # `info_from_json` reads the annotations as text

import dataclasses
import json
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferplus_keras.emotions import FACE_SIZE, check_class_names
from ferplus_keras.errors import InputError
from ferplus_keras.inputs import open_zip, read_json

MEMBER = "ferplus_keras.json"
LARGEST_SIDE = 2048


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint records about itself."""

    model_name: str
    image_size: int  # side in pixels to which the network resizes faces
    class_names: tuple[str, ...]  # class of each output
    dataset_name: str  # label set it was trained on
    label_rule: str  # of its training rows
    evaluation_rule: str  # label rule of the validation rows that chose it
    epoch: int = 0  # epochs finished when it was saved
    class_map: tuple[str, ...] | None = None  # as `--class_map`; None for the label set's classes
    face_size: int = FACE_SIZE  # side in pixels of the faces it takes
    colour: bool = False  # whether it takes RGB faces instead of grey ones
    group: str | None = None  # what kept own pictures in one split, as `--group`

    @property
    def face_shape(self) -> tuple[int, ...]:
        """(s, s), or (s, s, 3) in colour."""
        return (self.face_size, self.face_size, *([3] if self.colour else []))

    def data(self) -> dict[str, Any]:
        """Return the keywords with which `open_source` reads the data it was trained on."""
        names = ("dataset_name", "class_map", "class_names", "face_size", "colour", "group")
        return {name: getattr(self, name) for name in names}


def info_to_json(info: CheckpointInfo) -> str:
    """Return what a checkpoint or export carries, as `info_from_json` reads it."""
    return json.dumps(dataclasses.asdict(info), indent=2)


def append_info(info: CheckpointInfo, path: Path) -> None:
    """Add what a file carries to a zip archive, or behind a file of another kind, as `MEMBER`."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(MEMBER, info_to_json(info))


def info_from_zip(path: Path, kind: str) -> CheckpointInfo:
    """Return what `append_info` added; raises as `open_zip`, and as `info_from_json`."""
    with open_zip(path, kind) as archive:
        text = archive.read(MEMBER) if MEMBER in archive.namelist() else None
    return info_from_json(text, path)


def info_from_json(text: str | bytes | None, source: Path) -> CheckpointInfo:
    """Return what the JSON text in a checkpoint or export says; errors name that file.

    Raises:
        InputError: there is none, or it is damaged, or written by a newer version.
    """
    if not text:
        raise InputError(
            f"{source} does not say which classes its outputs are: ferplus_keras did not write it "
            f"(it carries no {MEMBER}); docs/own_network.md says how to use models from elsewhere"
        )
    found = None
    with suppress(ValueError):
        found = read_json(text)
    if not isinstance(found, dict):
        raise InputError(f"cannot read {MEMBER} of {source}: expected a JSON object")
    fields = {field.name: field for field in dataclasses.fields(CheckpointInfo)}
    if newer := sorted(found.keys() - fields.keys()):
        raise InputError(
            f"{source} was written by a newer version of ferplus_keras (key '{newer[0]}' of "
            f"{MEMBER} is unknown); upgrade to use it"
        )
    values = {}
    for name, field in fields.items():
        value = found.get(name, field.default)
        kind = type(value).__name__
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            value, kind = tuple(value), "tuple[str, ...]"
        values[name] = value
        if kind.removesuffix("Type") not in field.type.split(" | "):
            raise InputError(
                f"cannot read {MEMBER} of {source}: expected '{name}' to be {field.type}, "
                f"got {found.get(name)!r}"
            )
    for name in ("image_size", "face_size"):
        if not 0 < values[name] <= LARGEST_SIDE:
            raise InputError(
                f"cannot read {MEMBER} of {source}: expected '{name}' from 1 to {LARGEST_SIDE}, "
                f"got {values[name]}"
            )
    check_class_names(values["class_names"], str(source))
    return CheckpointInfo(**values)
