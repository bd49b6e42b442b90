"""Learning-rate policies: one function and one row of `POLICIES` each.

A planned policy is a function of the epoch, which the optimiser looks up at every step; a policy
that waits for validation is a callback.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ferplus_keras.errors import UsageError

if TYPE_CHECKING:
    import keras

    from ferplus_keras.config import TrainConfig


def constant(config: TrainConfig, epoch: float) -> float:
    """Keep the learning rate."""
    return 1.0


def step(config: TrainConfig, epoch: float) -> float:
    """Decay every `lr_decay_epochs` epochs.

    As in the older project the count starts at one, so that with 10 the tenth epoch is the first
    at a tenth: factor ** floor((epoch + 1) / lr_decay_epochs), epochs from 0.
    """
    return decay_factor(config) ** ((int(epoch) + 1) // config.lr_decay_epochs)


def piecewise(config: TrainConfig, epoch: float) -> float:
    """Decay after each of the epochs `lr_milestones`."""
    return decay_factor(config) ** sum(epoch >= milestone for milestone in config.lr_milestones)


def cosine(config: TrainConfig, epoch: float) -> float:
    """Fall along half a cosine to 0 at the last epoch (Loshchilov & Hutter 2017)."""
    start = config.warmup_epochs
    return _half_cosine((epoch - start) / max(config.nepochs - start, 1e-9))


def cosine_restarts(config: TrainConfig, epoch: float) -> float:
    """Fall along half a cosine, anew every `lr_decay_epochs` epochs (Loshchilov & Hutter 2017)."""
    return _half_cosine((epoch - config.warmup_epochs) / config.lr_decay_epochs % 1)


def one_cycle(config: TrainConfig, epoch: float) -> float:
    """Rise from 1/25 for 30 % of the epochs, then fall to nothing (Smith & Topin 2018)."""
    done, rise = epoch / config.nepochs, 0.3
    if done < rise:
        return 1 - (1 - 1 / 25) * _half_cosine(done / rise)
    return _half_cosine((done - rise) / (1 - rise))


def plateau(config: TrainConfig) -> keras.callbacks.Callback:
    """Decay after `lr_patience` epochs without a better `lr_monitor`."""
    import keras

    return keras.callbacks.ReduceLROnPlateau(
        monitor=config.lr_monitor,
        mode="min" if config.lr_monitor == "val_loss" else "max",
        factor=decay_factor(config),
        patience=config.lr_patience,
        min_lr=0,
    )


PLANNED: dict[str, Callable[[TrainConfig, float], float]] = {
    "constant": constant,
    "step": step,
    "piecewise": piecewise,
    "cosine": cosine,
    "cosine_restarts": cosine_restarts,
    "one_cycle": one_cycle,
}
"""Name -> function from settings and epoch (0 is the beginning, 0.5 the middle of the first) to
the share of `init_lr` that is in force."""

POLICIES = ("plateau", *PLANNED)
"""Every learning-rate policy."""


def reaches_over_all_epochs(config: TrainConfig) -> bool:
    """Return whether another number of epochs would be another plan, as with `cosine`."""
    if config.lr_policy not in PLANNED:
        return False
    share = PLANNED[config.lr_policy]
    longer = dataclasses.replace(config, nepochs=config.nepochs + 1)
    epochs = np.linspace(0, config.nepochs, 50, endpoint=False)
    return any(share(config, epoch) != share(longer, epoch) for epoch in epochs)


def decay_factor(config: TrainConfig) -> float:
    """Return what a decay multiplies the learning rate by."""
    if config.lr_factor is not None:
        return config.lr_factor
    return 0.5 if config.lr_policy == "plateau" else 0.1


def check_policy(config: TrainConfig) -> None:
    """Refuse settings that the policy cannot follow.

    Raises:
        UsageError: says which.
    """
    if config.warmup_epochs and config.lr_policy == "plateau":
        raise UsageError(
            "--warmup_epochs needs a planned --lr_policy "
            f"({', '.join(PLANNED)}); plateau waits for validation"
        )
    if config.warmup_epochs >= config.nepochs:
        raise UsageError(
            f"--warmup_epochs {config.warmup_epochs:g} leaves nothing of --nepochs {config.nepochs}"
        )


def planned_rates(config: TrainConfig, steps_per_epoch: int) -> np.ndarray:
    """Return the learning rate of every step, (nepochs * steps_per_epoch,) float32."""
    share = PLANNED[config.lr_policy]
    epochs = np.arange(config.nepochs * steps_per_epoch) / steps_per_epoch
    rates = [config.init_lr * share(config, epoch) for epoch in epochs]
    if config.warmup_epochs:
        rise = np.minimum((epochs + 1 / steps_per_epoch) / config.warmup_epochs, 1)
        rates = rates * rise
    return np.array(rates, np.float32)


def learning_rate(
    config: TrainConfig, steps_per_epoch: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Return what the optimiser begins with: a number for plateau, else the plan."""
    if config.lr_policy == "plateau":
        return config.init_lr
    return planned_schedule(planned_rates(config, steps_per_epoch))


def planned_schedule(rates: np.ndarray) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return the schedule that takes the learning rate of each step from `rates`, (n,) float32."""
    import keras

    class PlannedRates(keras.optimizers.schedules.LearningRateSchedule):
        """The rate of every step, written down; the last one goes on."""

        def __call__(self, step):
            position = keras.ops.minimum(keras.ops.cast(step, "int32"), len(rates) - 1)
            return keras.ops.take(keras.ops.convert_to_tensor(rates), position)

        def get_config(self):
            return {"rates": rates.tolist()}

    return PlannedRates()


def _half_cosine(done: float) -> float:
    """Return 1 at 0 and 0 at 1."""
    return (1 + math.cos(math.pi * min(max(done, 0.0), 1.0))) / 2
