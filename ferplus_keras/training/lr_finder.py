"""Find a learning rate: raise it step by step until the loss blows up (Smith 2017)."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.signal import lfilter

from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.files import replacing, require_writable
from ferplus_keras.progress import progress_bar
from ferplus_keras.training.prepare import compile_stage, prepare
from ferplus_keras.training.schedules import plan_stages, rate_per_step
from ferplus_keras.training.settle import check_targets, read_dataset, resolve, starting_weights

if TYPE_CHECKING:
    from ferplus_keras.config import TrainConfig

LOWEST, HIGHEST = 1e-6, 10.0  # learning rates between which the ramp runs
SMOOTHING = 0.95  # momentum of the running mean of the loss
DIVERGED = 4.0  # the ramp ends when the loss is this many times its smallest value


def find_learning_rate(config: TrainConfig, steps: int = 200) -> float:
    """Ramp the learning rate up on real training batches and suggest one.

    Writes lr_finder.csv and lr_finder.png into the run's folder; no checkpoint is written and no
    run is touched. With stages, the rate is for the first one. Computed in float32 for float16.

    Args:
        config: settings of the run that the rate is for.
        steps: batches of the ramp; small data are gone through several times.

    Returns:
        The suggested `init_lr`.

    Raises:
        InputError, UsageError: as `train`, or the loss is not a number from the start.
    """
    if config.coordinator or (config.num_processes or 1) > 1:
        raise UsageError("find-lr runs in one process; leave out --coordinator and --num_processes")
    config = dataclasses.replace(resolve(config), overwrite=False)
    if config.mixed_precision == "float16":  # its loss scale skips steps, and with them rates
        config = dataclasses.replace(config, mixed_precision="none")
    stage = plan_stages(config)[0]
    check_targets(config)
    require_writable(config.run_dir, "--checkpoints_dir")
    weights = starting_weights(config)
    dataset, config = read_dataset(config)
    prepared = prepare(config, dataset, weights)
    rates = np.geomspace(LOWEST, HIGHEST, steps).astype(np.float32)
    compile_stage(config, prepared, stage, rate_per_step(rates))
    model, batches, losses = prepared.model, prepared.batches, []

    def epoch_after_epoch() -> Iterator[tuple]:
        for epoch in itertools.count():
            batches.set_epoch(epoch)
            # All of one size: Keras' mean so far, which `after_step` undoes, is of faces.
            yield from map(batches.__getitem__, range(max(batches.rows // batches.batch_size, 1)))

    def after_step(batch: int, logs: dict[str, float]) -> None:
        losses.append(float(logs["loss"]) * (batch + 1) - sum(losses))  # Keras logs the mean so far
        bar.update()
        if len(smoothed := smooth(losses)[steps // 10 :]):  # before, it follows single batches
            least = smoothed.min()  # below 0 with some losses
            model.stop_training = not smoothed[-1] - least < (DIVERGED - 1) * abs(least)

    with progress_bar(total=steps, desc="learning rate", unit=" steps") as bar:
        model.fit(
            epoch_after_epoch(),
            steps_per_epoch=steps,
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=after_step)],
            shuffle=False,
            verbose=0,
        )
    suggested = suggest(rates, losses)
    columns = {"learning_rate": rates[: len(losses)], "loss": losses, "smoothed": smooth(losses)}
    table = pd.DataFrame(columns)
    with replacing(config.run_dir / "lr_finder.csv") as path:
        table.to_csv(path, index=False)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    colours = {"loss": "#9ecae1", "smoothed": "#08519c"}
    table.plot("learning_rate", [*colours], ax=axes, logx=True, color=colours, linewidth=1)
    axes.axvline(suggested, color="#d94801", linestyle="--", label=f"suggested {suggested:.2g}")
    begun = table["smoothed"][: max(len(table) // 2, 1)]
    axes.set(xlabel="learning rate", ylabel="loss per batch", ylim=(0, 2.5 * begun.max()))
    axes.legend()
    with replacing(config.run_dir / "lr_finder.png") as path:
        figure.savefig(path, dpi=120, format="png")
    print(f"suggested: --init_lr {suggested:.2g} (curve: {config.run_dir / 'lr_finder.png'})")
    return suggested


def smooth(losses: Sequence[float]) -> np.ndarray:
    """Return the running mean of the losses, without the bias of its beginning, (n,)."""
    means = lfilter([1 - SMOOTHING], [1, -SMOOTHING], losses)
    return means / (1 - SMOOTHING ** np.arange(1, len(losses) + 1))


def suggest(rates: np.ndarray, losses: Sequence[float]) -> float:
    """Return a tenth of the rate at which the smoothed loss is least, the first steps left out.

    It says so if the loss hardly fell. Raises InputError where it never was a number.
    """
    begin = len(rates) // 10
    smoothed = smooth(losses)[begin:]
    if not np.isfinite(smoothed).any():
        raise InputError("the loss is not a number at the smallest learning rate; check the data")
    if smoothed[0] - np.nanmin(smoothed) < 0.05 * abs(smoothed[0]):
        print("note: the loss hardly fell: it is noisy, or the network is trained", file=sys.stderr)
    return float(rates[begin + int(np.nanargmin(smoothed))] / 10)
