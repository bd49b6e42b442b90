"""Shim: moved to ferplus_keras.run."""

from pathlib import Path
from typing import Any

from ferplus_keras.run import (  # noqa: F401
    CONFIG,
    CURVES,
    FINAL,
    HISTORY,
    LOGS,
    MAX_ACCURACY,
    MIN_LOSS,
    RECORD,
    STATE,
    Run,
)
from ferplus_keras.run import TRAINED as WRITTEN  # noqa: F401


def read_record(folder: Path) -> dict[str, Any]:
    """Return run.json."""
    return Run(folder).record()


def going_on(folder: Path) -> dict[str, bool]:
    """Return the settings by which a begun run goes on or begins anew; none for a new one."""
    if (folder / STATE).is_file():
        return {"resume": True}
    return {"overwrite": True} if (folder / CONFIG).is_file() else {}
