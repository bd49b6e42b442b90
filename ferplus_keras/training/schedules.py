"""Learning-rate policies: one function and one row of `SCHEDULES` each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras.callbacks import Callback

    from ferplus_keras.config import TrainConfig


def step(config: TrainConfig) -> Callback:
    """Divide the learning rate by ten every `lr_decay_epochs` epochs.

    As in the older project the count starts at one, so that with 10 the tenth epoch is the first
    at a tenth: init_lr × 0.1 ** floor((epoch + 1) / lr_decay_epochs), epochs from 0.
    """
    import keras

    def rate(epoch: int) -> float:
        return config.init_lr * 0.1 ** ((epoch + 1) // config.lr_decay_epochs)

    return keras.callbacks.LearningRateScheduler(rate)


def plateau(config: TrainConfig) -> Callback:
    """Halve the learning rate after 3 epochs without a lower validation loss."""
    import keras

    return keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.5, patience=3)


SCHEDULES: dict[str, Callable[[TrainConfig], Callback]] = {"step": step, "plateau": plateau}
