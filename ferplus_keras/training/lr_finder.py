"""Find a learning rate: raise it step by step until the loss blows up (Smith 2017)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
import pandas as pd
from scipy.signal import lfilter

from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.files import replacing, require_writable
from ferplus_keras.progress import progress_bar
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

LOWEST, HIGHEST = 1e-6, 10.0  # learning rates between which the ramp runs
SMOOTHING = 0.95  # momentum of the running mean of the loss
DIVERGED = 4.0  # the ramp ends when the loss is this many times its smallest value


class Ramp(keras.callbacks.Callback):
    """Collect the loss of every step, and stop when it diverges."""

    def __init__(self, bar) -> None:
        super().__init__()
        self.bar = bar
        self.losses: list[float] = []
        self.total = 0.0

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        total = float(logs["loss"]) * (batch + 1)  # Keras logs the mean of the epoch
        self.losses.append(total - self.total)
        self.total = total
        self.bar.update()
        smoothed = smooth(self.losses)
        if not smoothed[-1] < DIVERGED * smoothed.min():
            self.model.stop_training = True


def find_learning_rate(config: TrainConfig, steps: int = 200) -> float:
    """Ramp the learning rate up on real training batches and suggest one.

    Writes lr_finder.csv and lr_finder.png into the run's folder; no checkpoint is written and no
    run is touched. With stages, the rate is for the first one.

    Args:
        config: settings of the run that the rate is for.
        steps: batches of the ramp; small data are gone through several times.

    Returns:
        The suggested `init_lr`.

    Raises:
        InputError, UsageError: as `train`, or the loss is not a number from the start.
    """
    if config.coordinator:
        raise UsageError("find-lr runs in one process; leave out --coordinator")
    config = dataclasses.replace(resolve(config), overwrite=False)
    stage = plan_stages(config)[0]
    check_targets(config)
    require_writable(config.run_dir, "--checkpoints_dir")
    weights = starting_weights(config)
    prepared = prepare(config, read_dataset(config), weights)
    rates = np.geomspace(LOWEST, HIGHEST, steps).astype(np.float32)
    compile_stage(config, prepared, stage, rate_per_step(rates))

    def epoch_after_epoch() -> Iterator[tuple]:
        for epoch in itertools.count():
            prepared.batches.set_epoch(epoch)
            yield from map(prepared.batches.__getitem__, range(len(prepared.batches)))

    with progress_bar(total=steps, desc="learning rate", unit=" steps") as bar:
        ramp = Ramp(bar)
        prepared.model.fit(
            epoch_after_epoch(),
            steps_per_epoch=steps,
            callbacks=[ramp],
            shuffle=False,
            verbose=0,
        )
    suggested = suggest(rates, ramp.losses)
    used = rates[: len(ramp.losses)]
    table = {"learning_rate": used, "loss": ramp.losses, "smoothed": smooth(ramp.losses)}
    _write(config.run_dir, pd.DataFrame(table), suggested)
    print(f"suggested: --init_lr {suggested:.2g} (curve: {config.run_dir / 'lr_finder.png'})")
    return suggested


def smooth(losses: Sequence[float]) -> np.ndarray:
    """Return the running mean of the losses, without the bias of its beginning, (n,)."""
    means = lfilter([1 - SMOOTHING], [1, -SMOOTHING], losses)
    return means / (1 - SMOOTHING ** np.arange(1, len(losses) + 1))


def suggest(rates: np.ndarray, losses: Sequence[float]) -> float:
    """Return a tenth of the rate at which the smoothed loss is least.

    Raises:
        InputError: the loss was not a number before it had fallen.
    """
    smoothed = smooth(losses)
    if not np.isfinite(smoothed).any():
        raise InputError("the loss is not a number at the smallest learning rate; check the data")
    return float(rates[int(np.nanargmin(smoothed))] / 10)


def _write(folder: Path, table: pd.DataFrame, suggested: float) -> None:
    from matplotlib.figure import Figure

    with replacing(folder / "lr_finder.csv") as path:
        table.to_csv(path, index=False)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    colours = {"loss": "#9ecae1", "smoothed": "#08519c"}
    table.plot("learning_rate", [*colours], ax=axes, logx=True, color=colours, linewidth=1)
    axes.axvline(suggested, color="#d94801", linestyle="--", label=f"suggested {suggested:.2g}")
    begun = table["smoothed"][: max(len(table) // 2, 1)]
    axes.set(xlabel="learning rate", ylabel="loss per batch", ylim=(0, 2.5 * begun.max()))
    axes.legend()
    with replacing(folder / "lr_finder.png") as path:
        figure.savefig(path, dpi=120, format="png")
