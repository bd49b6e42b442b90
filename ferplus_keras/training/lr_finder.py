"""Find a learning rate: raise it step by step until the loss blows up (Smith 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np

from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing, require_writable
from ferplus_keras.progress import progress_bar
from ferplus_keras.training.distillation import check_teachers
from ferplus_keras.training.prepare import (
    check_targets,
    compile_stage,
    prepare,
    read_dataset,
    resolve,
    starting_weights,
)
from ferplus_keras.training.schedules import plan_stages, rate_per_step

if TYPE_CHECKING:
    from ferplus_keras.config import TrainConfig

LOWEST, HIGHEST = 1e-6, 10.0
"""Learning rates between which the ramp runs."""

SMOOTHING = 0.95
"""Momentum of the running mean of the loss."""

DIVERGED = 4.0
"""The ramp ends when the loss is this many times its smallest value."""


class Ramp(keras.callbacks.Callback):
    """Collect the loss of every step, and stop when it diverges."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.losses: list[float] = []
        self.total = 0.0

    def on_train_begin(self, logs=None) -> None:
        self.bar = progress_bar(total=self.steps, desc="learning rate", unit=" steps")

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        total = float(logs["loss"]) * (batch + 1)  # Keras logs the mean of the epoch
        self.losses.append(total - self.total)
        self.total = total
        self.bar.update()
        smoothed = smooth(self.losses)
        if not smoothed[-1] < DIVERGED * smoothed.min():
            self.model.stop_training = True

    def on_train_end(self, logs=None) -> None:
        self.bar.close()


def find_learning_rate(config: TrainConfig, steps: int = 200) -> float:
    """Ramp the learning rate up on real training batches and suggest one.

    Writes lr_finder.csv and lr_finder.png into the run's folder; no checkpoint is written and no
    run is touched. With stages, the rate is for the first one.

    Args:
        config: settings of the run that the rate is for.
        steps: batches of the ramp, at most an epoch's.

    Returns:
        The suggested `init_lr`.

    Raises:
        InputError, UsageError: as `train`, or the loss is not a number from the start.
    """
    config = resolve(config)
    stage = plan_stages(config)[0]
    check_targets(config)
    check_teachers(config.teacher, config.teacher_weight, False)
    require_writable(config.run_dir, "--checkpoints_dir")
    weights = starting_weights(config)
    dataset = read_dataset(config)
    prepared = prepare(config, dataset, weights)
    steps = min(steps, len(prepared.batches))
    rates = np.geomspace(LOWEST, HIGHEST, steps).astype(np.float32)
    compile_stage(config, prepared, stage, rate_per_step(rates))
    ramp = Ramp(steps)
    prepared.model.fit(
        prepared.batches, steps_per_epoch=steps, callbacks=[ramp], shuffle=False, verbose=0
    )
    suggested = suggest(rates, ramp.losses)
    _write(config.run_dir, rates, ramp.losses, suggested)
    print(f"suggested: --init_lr {suggested:.2g} (curve: {config.run_dir / 'lr_finder.png'})")
    return suggested


def smooth(losses: Sequence[float]) -> np.ndarray:
    """Return the running mean of the losses, without the bias of its beginning, (n,)."""
    mean, found = 0.0, []
    for step, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(mean / (1 - SMOOTHING**step))
    return np.array(found)


def suggest(rates: np.ndarray, losses: Sequence[float]) -> float:
    """Return a tenth of the rate at which the smoothed loss is least.

    Raises:
        InputError: the loss was not a number before it had fallen.
    """
    smoothed = smooth(losses)
    if not np.isfinite(smoothed).any():
        raise InputError("the loss is not a number at the smallest learning rate; check the data")
    return float(rates[int(np.nanargmin(smoothed))] / 10)


def _write(folder: Path, rates: np.ndarray, losses: Sequence[float], suggested: float) -> None:
    import pandas as pd
    from matplotlib.figure import Figure

    smoothed = smooth(losses)
    used = rates[: len(losses)]
    table = pd.DataFrame({"learning_rate": used, "loss": losses, "smoothed": smoothed})
    with replacing(folder / "lr_finder.csv") as path:
        table.to_csv(path, index=False)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(used, losses, color="#9ecae1", linewidth=0.8, label="loss per batch")
    axes.plot(used, smoothed, color="#08519c", label="smoothed")
    axes.axvline(suggested, color="#d94801", linestyle="--", label=f"suggested {suggested:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.set_ylim(0, 2.5 * np.nanmax(smoothed[: max(len(smoothed) // 2, 1)]))
    axes.legend()
    with replacing(folder / "lr_finder.png") as path:
        figure.savefig(path, dpi=120, format="png")
