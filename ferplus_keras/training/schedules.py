"""Learning-rate policies, and the stages of a run.

A planned policy is a function of the epoch, which the optimiser looks up at every step; `plateau`
waits for validation and is a callback.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ferplus_keras.errors import UsageError
from ferplus_keras.lazy import keras
from ferplus_keras.registry import Registry

if TYPE_CHECKING:
    from ferplus_keras.config import TrainConfig


MONITORS = {"val_loss": "min", "val_accuracy": "max"}
"""Logged numbers by which epochs are compared -> which value is the best."""


@dataclass(frozen=True)
class Plan:
    """A part of a run with its own frozen layers and learning rate, whose policy may look at it."""

    policy: str
    epochs: int  # of this part
    init_lr: float  # what the policy's shares refer to
    warmup: float = 0.0  # epochs of the linear ramp ahead of the policy
    decay_epochs: int = 10  # epochs between decays, or per cycle
    milestones: tuple[int, ...] = (100, 120)  # epochs after which the rate decays
    factor: float | None = None  # what a decay multiplies the rate by; None is the policy's own
    patience: int = 3  # epochs without improvement before plateau decays
    monitor: str = "val_loss"  # which of `MONITORS` plateau watches
    freeze_before: int | str = 0  # as `models.freeze.freeze_before` takes it
    early_stopping: int = 0  # epochs without better validation accuracy that end the run; 0: none

    @property
    def decay(self) -> float:
        """What a decay multiplies the learning rate by."""
        return self.factor or (0.5 if self.policy == "plateau" else 0.1)


Share = Callable[[Plan, float], float]
"""From plan and epoch (0 is the beginning of the first) to the share of `init_lr` in force."""

POLICIES: Registry[Share | None] = Registry("learning-rate policy")
"""Every learning-rate policy by name; None for the one that waits for validation."""

POLICIES["plateau"] = None


@POLICIES.register("constant")
def constant(plan: Plan, epoch: float) -> float:
    """Keep the learning rate constant."""
    return 1.0


@POLICIES.register("step")
def step(plan: Plan, epoch: float) -> float:
    """Multiply by `--lr_factor` (0.1) every `--lr_decay_epochs`, counted from one.

    As in the older project: with 10, the tenth epoch is the first at a tenth. Epochs from 0:
    factor ** floor((epoch + 1) / decay_epochs).
    """
    return plan.decay ** ((int(epoch) + 1) // plan.decay_epochs)


@POLICIES.register("piecewise")
def piecewise(plan: Plan, epoch: float) -> float:
    """Multiply by `--lr_factor` (0.1) after each of the epochs `--lr_milestones`."""
    return plan.decay ** sum(epoch >= milestone for milestone in plan.milestones)


@POLICIES.register("cosine")
def cosine(plan: Plan, epoch: float) -> float:
    """Fall along half a cosine to 0 at the last epoch (Loshchilov & Hutter 2017)."""
    return _half_cosine((epoch - plan.warmup) / max(plan.epochs - plan.warmup, 1e-9))


@POLICIES.register("cosine_restarts")
def cosine_restarts(plan: Plan, epoch: float) -> float:
    """Fall along half a cosine, restarting every `--lr_decay_epochs` (Loshchilov & Hutter 2017)."""
    return _half_cosine((epoch - plan.warmup) / plan.decay_epochs % 1)


@POLICIES.register("one_cycle")
def one_cycle(plan: Plan, epoch: float) -> float:
    """Rise from 1/25 for 30 % of the epochs, then fall to 0 (Smith & Topin 2018)."""
    done, rise = epoch / plan.epochs, 0.3
    if done < rise:
        return 1 - (1 - 1 / 25) * _half_cosine(done / rise)
    return _half_cosine((done - rise) / (1 - rise))


def spans_all_epochs(name: str) -> bool:
    """Return whether another number of epochs would change a policy's plan, as with `cosine`."""
    if POLICIES[name] is None:
        return False
    short, long = (planned_rates(Plan(name, epochs, 1.0), 10)[:40] for epochs in (4, 5))
    return not np.array_equal(short, long)


def planned_rates(plan: Plan, steps_per_epoch: int) -> np.ndarray:
    """Return the learning rate of every step, (epochs * steps_per_epoch,) float32.

    During warm-up the rate rises linearly from 0 to what the policy says at the end of warm-up.
    """
    share = POLICIES[plan.policy]
    epochs = np.arange(plan.epochs * steps_per_epoch) / steps_per_epoch
    rates = [plan.init_lr * share(plan, max(epoch, plan.warmup)) for epoch in epochs]
    if plan.warmup:
        rates = rates * np.minimum((epochs + 1 / steps_per_epoch) / plan.warmup, 1)
    return np.array(rates, np.float32)


def learning_rate(
    plan: Plan, steps_per_epoch: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Return what the optimiser begins with: a number for plateau, else the plan."""
    if POLICIES[plan.policy] is None:
        return plan.init_lr
    return rate_per_step(planned_rates(plan, steps_per_epoch))


def rate_per_step(rates: np.ndarray) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return the schedule that takes the learning rate of each step from `rates`, (n,) float32."""

    class RatePerStep(keras.optimizers.schedules.LearningRateSchedule):
        # Past the end the last rate is kept.
        def __call__(self, step):
            position = keras.ops.minimum(keras.ops.cast(step, "int32"), len(rates) - 1)
            return keras.ops.take(keras.ops.convert_to_tensor(rates), position)

    return RatePerStep()


def waiting(plan: Plan) -> list[keras.callbacks.Callback]:
    """Multiply by `--lr_factor` (0.5) after `--lr_patience` epochs without a better `--lr_monitor`.

    Returns no callback for a planned policy.
    """
    if POLICIES[plan.policy]:
        return []
    how = {"mode": MONITORS[plan.monitor], "min_lr": 0}
    return [keras.callbacks.ReduceLROnPlateau(plan.monitor, plan.decay, plan.patience, **how)]


def plan_stages(config: TrainConfig) -> list[Plan]:
    """Return the stages of a run in turn; one without `--stages` is a single stage.

    Only the last one may stop early.

    Raises:
        UsageError: a stage is not EPOCHS:FREEZE_BEFORE:INIT_LR, or a warm-up does not fit into it.
    """
    single = (config.nepochs, config.freeze_before, config.init_lr)
    parts = [_read_stage(text) for text in config.stages] if config.stages else [single]
    if config.warmup_epochs and POLICIES[config.lr_policy] is None:
        planned = ", ".join(name for name, share in POLICIES.items() if share)
        raise UsageError(
            f"--warmup_epochs needs a planned --lr_policy ({planned}); {config.lr_policy} waits "
            "for validation"
        )
    shared = {
        "warmup": config.warmup_epochs,
        "decay_epochs": config.lr_decay_epochs,
        "milestones": config.lr_milestones,
        "factor": config.lr_factor,
        "patience": config.lr_patience,
        "monitor": config.lr_monitor,
    }
    stages = []
    for epochs, boundary, rate in parts:
        if config.warmup_epochs >= epochs:
            of = f"a stage of {epochs}" if config.stages else f"--nepochs {epochs}"
            raise UsageError(f"--warmup_epochs {config.warmup_epochs:g} leaves no epoch of {of}")
        stages.append(Plan(config.lr_policy, epochs, rate, freeze_before=boundary, **shared))
    stages[-1] = dataclasses.replace(stages[-1], early_stopping=config.early_stopping)
    return stages


def _read_stage(text: str) -> tuple[int, int | str, float]:
    with suppress(ValueError):
        epochs, boundary, rate = text.split(":")
        found = int(epochs), int(boundary) if boundary.lstrip("-").isdigit() else boundary
        if found[0] > 0 and boundary and 0 < float(rate) < math.inf:
            return *found, float(rate)
    raise UsageError(
        "--stages: expected EPOCHS:FREEZE_BEFORE:INIT_LR, such as 5:-3:0.01, with 1 epoch or "
        f"more and a learning rate above 0; got '{text}'"
    )


def _half_cosine(done: float) -> float:
    """Return 1 at 0 and 0 at 1."""
    return (1 + math.cos(math.pi * min(max(done, 0.0), 1.0))) / 2
