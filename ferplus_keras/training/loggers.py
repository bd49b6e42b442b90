"""Loggers beside training.csv, all optional: one function of `LOGGERS` each."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from ferplus_keras.lazy import keras
from ferplus_keras.registry import Registry
from ferplus_keras.run import LOGS, Run

LOGGERS: Registry[Callable[..., list[keras.callbacks.Callback]]] = Registry("logger")
"""Name -> function from the run and its settings to callbacks."""


@LOGGERS.register("tensorboard")
def tensorboard(run: Run, settings: dict[str, Any]) -> list[keras.callbacks.Callback]:
    """Write TensorBoard's events to `logs/`.

    Needs TensorFlow whatever the backend. On by default, it is skipped where that is missing.
    """
    missing = [name for name in ("tensorflow", "tensorboard") if not find_spec(name)]
    if missing:
        print(f"no TensorBoard logs without {' and '.join(missing)}; training.csv has the numbers")
        return []
    board = keras.callbacks.TensorBoard(run / LOGS, write_graph=False)
    board.async_safe = True  # it writes by epoch; its batch hook only counts
    return [board]


@LOGGERS.register("wandb")
def wandb(run: Run, settings: dict[str, Any]) -> list[keras.callbacks.Callback]:
    """Send settings and numbers to Weights & Biases.

    $WANDB_PROJECT, $WANDB_MODE (offline keeps them on the machine) and so on are wandb's own. The
    identifier is kept in run.json, so stages and resumed trainings continue the same run there.
    """

    def begin(logs=None) -> None:
        import wandb

        record = run.record()
        record.setdefault("wandb_id", uuid.uuid4().hex)
        run.write_record(record)
        logger.run = wandb.init(
            id=record["wandb_id"],
            resume="allow",
            name=run.folder.name,
            dir=str(run.folder),
            config=settings,
            allow_val_change=True,
        )

    def log(epoch: int, logs: dict[str, Any]) -> None:
        logger.run.log({name: float(value) for name, value in logs.items()}, step=epoch + 1)

    logger = keras.callbacks.LambdaCallback(
        on_train_begin=begin, on_epoch_end=log, on_train_end=lambda logs: logger.run.finish()
    )
    return [logger]


@LOGGERS.register("none")
def none(run: Run, settings: dict[str, Any]) -> list[keras.callbacks.Callback]:
    """Log nothing else."""
    return []
