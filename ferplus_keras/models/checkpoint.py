"""Checkpoints: a `.keras` file that also says which classes its outputs are.

A checkpoint is Keras' own archive (network and weights) with one more member,
`ferplus_keras.json`, which Keras ignores. So a bare file is enough to evaluate, to predict and to
export, on any backend.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing

if TYPE_CHECKING:
    import keras

MEMBER = "ferplus_keras.json"


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint knows of itself.

    Attributes:
        model_name: row of the model table.
        image_size: side in pixels to which the network enlarges faces.
        class_names: class of each output, in order.
        dataset_name: label set it was trained on.
        label_rule: label rule of its training rows.
        evaluation_rule: label rule of the validation rows that chose it.
        epoch: epochs finished when it was saved.
        class_map: how its classes were merged of the label set's, as `--class_map` takes it;
            None for the label set's own.
    """

    model_name: str
    image_size: int
    class_names: tuple[str, ...]
    dataset_name: str
    label_rule: str
    evaluation_rule: str
    epoch: int = 0
    class_map: tuple[str, ...] | None = None


def save_checkpoint(model: keras.Model, path: Path, info: CheckpointInfo) -> None:
    """Write `model`, without its optimiser, and `info` to `path`, whole or not at all."""
    import keras

    # The same layers, not compiled: a third of the size under Adam. Resuming has its own file.
    network = keras.Model(model.input, model.output, name=model.name)
    with replacing(path) as temporary:
        network.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(MEMBER, json.dumps(dataclasses.asdict(info), indent=2))


def read_info(path: Path) -> CheckpointInfo:
    """Return what the checkpoint at `path` knows of itself; the network is not loaded.

    Raises:
        InputError: the file is missing, not a `.keras` archive, or not one of this project.
    """
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            return info_from_json(archive.read(MEMBER).decode())
    except zipfile.BadZipFile:
        raise InputError(
            f"{path} is not a .keras checkpoint (not a zip archive, {path.stat().st_size} bytes); "
            "was it cut short while being copied?"
        ) from None
    except KeyError:
        raise InputError(
            f"{path} holds no {MEMBER}: it was not saved by ferplus_keras, "
            "so the order of its classes is unknown"
        ) from None


def info_from_json(text: str) -> CheckpointInfo:
    """Return what the JSON text of a checkpoint or export says."""
    members = json.loads(text)
    for name in ("class_names", "class_map"):
        if members.get(name) is not None:
            members[name] = tuple(members[name])
    return CheckpointInfo(**members)


def load_checkpoint(path: Path) -> tuple[keras.Model, CheckpointInfo]:
    """Return the network and what the checkpoint knows of itself.

    The network takes (b, 48, 48) uint8 faces and returns (b, C) float32 probabilities. It is not
    compiled.

    Raises:
        InputError: as `read_info`, or the archive is damaged.
    """
    info = read_info(path)
    import keras

    from ferplus_keras.models import preprocess, vit  # noqa: F401  registers their layers

    try:
        return keras.saving.load_model(path, compile=False), info
    except Exception as error:  # Keras raises many kinds for a damaged archive
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"cannot load the checkpoint {path}: {reason}") from error
