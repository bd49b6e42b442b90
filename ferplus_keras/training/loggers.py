"""Loggers beside training.csv, all optional: one function and one row of `LOGGERS` each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ferplus_keras.errors import InputError

if TYPE_CHECKING:
    from keras.callbacks import Callback

    from ferplus_keras.config import TrainConfig


def none(config: TrainConfig) -> list[Callback]:
    """Log nothing more."""
    return []


def tensorboard(config: TrainConfig) -> list[Callback]:
    """Write events to logs/ of the run; needs TensorFlow whatever the backend.

    It is on by default, so where it is missing training goes on without it.
    """
    missing = [name for name in ("tensorflow", "tensorboard") if not find_spec(name)]
    if missing:
        print(f"no TensorBoard logs without {' and '.join(missing)}; training.csv has the numbers")
        return []
    import keras

    from ferplus_keras.training.run_folder import LOGS

    return [keras.callbacks.TensorBoard(config.run_dir / LOGS, write_graph=False)]


def wandb(config: TrainConfig) -> list[Callback]:
    """Send settings and numbers to Weights & Biases, or keep them with WANDB_MODE=offline."""
    from ferplus_keras.training.callbacks import WeightsAndBiases

    return [WeightsAndBiases(config)]


LOGGERS: dict[str, Callable[[TrainConfig], list[Callback]]] = {
    "tensorboard": tensorboard,
    "wandb": wandb,
    "none": none,
}
"""Every logger by name."""


def check_loggers(names: Sequence[str]) -> None:
    """Refuse a logger that was asked for and cannot work, before any slow work.

    Raises:
        InputError: its package is not installed.
    """
    if "wandb" in names and not find_spec("wandb"):
        raise InputError("--loggers wandb needs wandb: pip install 'ferplus-keras[wandb]'")
