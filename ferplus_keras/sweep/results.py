"""What became of a trial, read from its run folder."""

from __future__ import annotations

import csv
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferplus_keras.arguments import read_config
from ferplus_keras.config import TrainConfig
from ferplus_keras.sweep.plan import PROG, Plan, as_words
from ferplus_keras.training.run_folder import HISTORY, RECORD, read_record
from ferplus_keras.training.stages import stage_configs


@dataclass(frozen=True)
class Result:
    """A trial's best epoch by the sweep's metric.

    Attributes:
        value: the metric there.
        epoch: counted from 1.
        seconds: of training since its last start; None where it was stopped after its last epoch.
    """

    value: float
    epoch: int
    seconds: float | None


def read_result(run_dir: Path, plan: Plan, kept: dict[str, Any]) -> Result | None:
    """Return the result of a trial whose epochs are all done, else None.

    Args:
        run_dir: its run folder.
        plan: the sweep.
        kept: the trial's parameters.
    """
    rows = _epochs(run_dir / HISTORY)
    record = read_record(run_dir) if (run_dir / RECORD).is_file() else {}
    if "best" not in record and not _is_complete(rows, plan.settings(kept)):
        return None
    finite = [row for row in rows if math.isfinite(row[plan.metric])]
    if not finite:
        return None
    best = plan.better(finite, key=lambda row: row[plan.metric])
    return Result(best[plan.metric], int(best["epoch"]), record.get("seconds"))


def read_error(log: Path) -> str:
    """Return the line of a failed training's log that says why."""
    text = ""
    with suppress(FileNotFoundError):
        text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (said or lines or ["nothing was said"])[-1]


def _epochs(path: Path) -> list[dict[str, float]]:
    """Return training.csv; empty when there is none yet."""
    with suppress(FileNotFoundError), path.open(newline="", encoding="utf-8") as file:
        return [
            {name: float(number) for name, number in row.items()} for row in csv.DictReader(file)
        ]
    return []


def _is_complete(rows: list[dict[str, float]], settings: dict[str, Any]) -> bool:
    """Say whether training was over although it was stopped before it said so in run.json."""
    config = read_config(TrainConfig, as_words(settings), PROG)
    if len(rows) >= sum(stage.nepochs for stage in stage_configs(config)):
        return True
    if not rows or not config.early_stopping or config.stages:
        return False
    best = max(rows, key=lambda row: row["val_accuracy"])
    return len(rows) - best["epoch"] >= config.early_stopping
