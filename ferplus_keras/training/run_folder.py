"""The folder of a run: what is in it, and when it may be written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ferplus_keras.config import TrainConfig, to_plain
from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing, require_writable

CONFIG = "config.yaml"
RECORD = "run.json"
MAX_ACCURACY = "model_max_acc.keras"
MIN_LOSS = "model_min_loss.keras"
FINAL = "final_model.keras"
STATE = "resume_state.npz"
HISTORY = "training.csv"
CURVES = "curves.png"
LOGS = "logs"
WRITTEN = (CONFIG, RECORD, MAX_ACCURACY, MIN_LOSS, FINAL, STATE, HISTORY, CURVES)
"""Files of a run; `logs/` holds TensorBoard's events."""


def check_run_folder(config: TrainConfig) -> None:
    """Refuse a run folder that may not be used, before any slow work.

    Raises:
        InputError: the run exists and neither `resume` nor `overwrite` is set, or the folder
            cannot be written.
    """
    folder = config.run_dir
    if config.resume and config.overwrite:
        raise InputError("--resume goes on with a run and --overwrite replaces it: choose one")
    if any((folder / name).exists() for name in WRITTEN) and not (
        config.resume or config.overwrite
    ):
        raise InputError(
            f"the run {folder} exists already: choose another --name, "
            "--resume to go on with it, or --overwrite to replace it"
        )
    require_writable(folder, "--checkpoints_dir")


def going_on(folder: Path) -> dict[str, bool]:
    """Return the settings by which a begun run goes on or begins anew; none for a new one."""
    if (folder / STATE).is_file():
        return {"resume": True}
    return {"overwrite": True} if (folder / CONFIG).is_file() else {}


def begin_run(config: TrainConfig) -> None:
    """Empty the folder of an overwritten run and write config.yaml."""
    folder = config.run_dir
    if config.overwrite:
        for name in WRITTEN:
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / LOGS, ignore_errors=True)
    write_config(config)


def write_config(config: TrainConfig) -> None:
    """Write config.yaml whole; a resumed run may have more epochs, or its data elsewhere."""
    import yaml

    settings = to_plain(config) | {"resume": False, "overwrite": False}
    with replacing(config.run_dir / CONFIG) as temporary:
        temporary.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any]:
    """Return run.json."""
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {folder / RECORD}: {error}") from None


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write run.json whole."""
    with replacing(folder / RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
