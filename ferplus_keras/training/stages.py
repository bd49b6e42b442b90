"""Shim: schedules.plan_stages replaces it."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from ferplus_keras.errors import UsageError

if TYPE_CHECKING:
    from ferplus_keras.config import TrainConfig


def stage_configs(config: TrainConfig) -> list[TrainConfig]:
    """Return the settings of each stage in turn; of a run without stages, its own.

    A stage plans its learning rate over its own epochs, which is its `nepochs`. Only the last one
    may stop early.

    Raises:
        UsageError: a stage is not EPOCHS:FREEZE_BEFORE:INIT_LR.
    """
    if not config.stages:
        return [config]
    last = len(config.stages) - 1
    return [
        dataclasses.replace(
            config,
            stages=None,
            early_stopping=config.early_stopping if index == last else 0,
            **_read(text),
        )
        for index, text in enumerate(config.stages)
    ]


def _read(text: str) -> dict:
    try:
        epochs, boundary, rate = text.split(":")
        boundary = int(boundary) if boundary.lstrip("-").isdigit() else boundary
        settings = {"nepochs": int(epochs), "freeze_before": boundary, "init_lr": float(rate)}
        usable = settings["nepochs"] >= 1 and boundary != "" and 0 < settings["init_lr"] < math.inf
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            "--stages: expected EPOCHS:FREEZE_BEFORE:INIT_LR, such as 5:-3:0.01, with 1 epoch or "
            f"more and a learning rate above 0; got '{text}'"
        )
    return settings
