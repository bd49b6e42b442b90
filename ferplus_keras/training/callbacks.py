"""What happens beside the weight updates. One callback, one behaviour.

Keras calls the hooks at the end of a batch from another thread, without waiting for the device, if
every callback with such a hook sets `async_safe`. Those at its beginning are called in turn.
"""

import dataclasses
import math
import signal
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import keras

from ferplus_keras.data.batches import Batches
from ferplus_keras.errors import InputError, Terminated, handling
from ferplus_keras.files import replacing
from ferplus_keras.lazy import pandas, plt
from ferplus_keras.models.checkpoint import CheckpointInfo, save_checkpoint
from ferplus_keras.progress import progress_bar
from ferplus_keras.run import CURVES, HISTORY, Run
from ferplus_keras.training.schedules import MONITORS


class SetEpoch(keras.callbacks.Callback):
    """Tell the training batches which epoch they belong to."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        self.batches.set_epoch(epoch)


class Interruptible(keras.callbacks.Callback):
    """Let the first Ctrl-C wait while a finished epoch is saved, and never lose one.

    The signals are handled while the callback, the first of all, is entered as a context.
    """

    def __enter__(self) -> Self:
        self.asked = self.seen = None  # KeyboardInterrupts: the one that waits, the last
        self.saving = False
        self.handling = handling(self._interrupt, "SIGINT", "SIGTERM", "SIGHUP")
        self.handling.__enter__()
        return self

    def __exit__(self, kind, *error) -> None:
        self.handling.__exit__(None, None, None)
        if self.seen and kind is SystemError:  # what TensorFlow makes of a signal while it traces
            raise self.seen

    def _interrupt(self, number, frame) -> None:
        self.seen = KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)
        if self.asked or not self.saving:
            raise self.seen
        self.asked = self.seen

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        self.saving = True

    def on_epoch_begin(self, *_) -> None:
        self.saving = False
        if self.asked:
            raise self.asked

    on_train_end = on_epoch_begin


class Progress(keras.callbacks.Callback):
    """Show one bar for the whole run, validation included, and a line for each finished epoch.

    `batches` and `validation` say how many rows an epoch has, `epochs` how many epochs the run has.
    """

    async_safe = True
    state_names = ("seconds", "images_per_second")

    def __init__(self, batches: Batches, validation: Batches, epochs: int) -> None:
        super().__init__()
        self.images, self.batch_size, self.epochs = batches.rows, batches.batch_size, epochs
        self.both = batches.rows + validation.rows
        self.images_per_second: list[float] = []
        self.seconds: list[float] = []  # of each finished epoch of the run, validation included
        self.lock = threading.Lock()
        self.bar: Any = None

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        begin = epoch * self.both
        if self.bar is None:
            self.bar = progress_bar(total=self.epochs * self.both, initial=begin, unit=" images")
        self.due = begin + self.images
        self.bar.set_description(f"epoch {epoch + 1}/{self.epochs}", refresh=False)
        self.started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        with self.lock:
            numbers = {name: f"{float(value):.4f}" for name, value in logs.items()}
            self.bar.set_postfix(numbers, refresh=False)
            self.bar.update(min(self.batch_size, self.due - self.bar.n))

    on_test_batch_end = on_train_batch_end

    def on_test_begin(self, logs=None) -> None:
        keras.ops.convert_to_numpy(self.model.optimizer.iterations)  # JAX has queued the last steps
        self.speed = self.images / (time.perf_counter() - self.started)
        self.due += self.both - self.images

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        self.images_per_second.append(self.speed)
        self.seconds.append(time.perf_counter() - self.started)
        numbers = "  ".join(f"{name} {float(value):.4f}" for name, value in logs.items())
        left = (self.epochs - epoch - 1) * statistics.mean(self.seconds)
        digits = 0 if self.speed >= 10 else 1
        pace = f"{self.speed:.{digits}f} images/s"
        pace += f", at most {self.bar.format_interval(left)} left" if left else ""
        self.bar.write(f"epoch {epoch + 1}/{self.epochs}  {numbers}  ({pace})")
        sys.stdout.flush()

    def close(self, logs=None) -> None:
        """End the bar, also after a failure, so that messages begin on a line of their own."""
        if self.bar:
            self.bar.close()
            self.bar = None

    on_train_end = close

    def record(self) -> dict[str, float]:
        """Return what run.json says of the run's length and speed."""
        return {
            "epochs": len(self.seconds),
            "seconds": sum(self.seconds),
            "images_per_second": statistics.median(self.images_per_second),
        }


class AverageWeights(keras.callbacks.SwapEMAWeights):
    """Validate and save the moving average that the optimiser keeps of the weights.

    The network has it from validation until the callback of `put_back` sees the end of the epoch.
    """

    on_epoch_begin = on_epoch_end = on_test_end = lambda self, *_, **__: None  # put_back does this

    def put_back(self) -> keras.callbacks.Callback:
        """Return the callback that puts the trained weights back."""
        swap = super().on_test_end
        return keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: swap())


class SaveBest(keras.callbacks.Callback):
    """Keep the checkpoint of the epoch that is best by one logged number.

    A number that is not finite is worse than any other.

    Args:
        path: `.keras` file, replaced whole at every improvement.
        monitor: logged number, a key of `MONITORS`.
        info: what the checkpoint says of itself; the epoch is filled in.
        network: what is saved.
    """

    state_names = ("best", "best_epoch")

    def __init__(
        self, path: Path, monitor: str, info: CheckpointInfo, network: keras.Model
    ) -> None:
        super().__init__()
        self.path, self.monitor, self.info, self.network = path, monitor, info, network
        self.sign = {"max": 1, "min": -1}[MONITORS[monitor]]
        self.best: float | None = None
        self.best_epoch = 0

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        value = float(logs[self.monitor])
        if self.best is None or self._worth(value) > self._worth(self.best):
            info = dataclasses.replace(self.info, epoch=epoch + 1)
            save_checkpoint(self.network, self.path, info)
            self.best, self.best_epoch = value, epoch + 1

    def _worth(self, value: float) -> float:
        return self.sign * value if math.isfinite(value) else -math.inf


class StopOnNaN(keras.callbacks.Callback):
    """End a run whose loss is no longer a number, saying what to try."""

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        for name, of in (("loss", "loss"), ("val_loss", "validation loss")):
            if math.isnan(float(logs.get(name, 0))):
                raise InputError(
                    f"the {of} is not a number after epoch {epoch + 1}; "
                    "try a lower --init_lr or --mixed_precision none"
                )


class History(keras.callbacks.Callback):
    """Write training.csv after every epoch, curves.png every ten seconds or more, each whole.

    training.csv has one line per epoch: epoch (from 1), learning_rate, then every logged number.
    """

    state_names = ("rows",)

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.rows: list[dict[str, float]] = []
        self.drawn, self.drawn_rows = time.monotonic(), 0

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        self.rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        numbers = {name: float(value) for name, value in sorted(logs.items())}
        numbers.pop("learning_rate", None)
        self.rows.append({"epoch": epoch + 1, "learning_rate": self.rate, **numbers})
        with replacing(self.run / HISTORY) as temporary:
            pandas.DataFrame(self.rows).to_csv(temporary, index=False, lineterminator="\r\n")
        if time.monotonic() - self.drawn > 10:
            self.draw()

    def on_train_end(self, logs=None) -> None:
        self.draw()

    def draw(self) -> None:
        """Write curves.png where it lacks an epoch."""
        if len(self.rows) > self.drawn_rows:
            draw_curves(self.rows, self.run / CURVES)
            self.drawn, self.drawn_rows = time.monotonic(), len(self.rows)


def draw_curves(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Draw loss, accuracy and learning rate by epoch, given the rows of training.csv, as a PNG."""
    from matplotlib.ticker import LogLocator

    table = {name: [row[name] for row in rows] for name in rows[0]}
    epochs = table["epoch"]
    figure = plt.Figure(figsize=(9, 5), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(4, 1))
    marker = "." if len(rows) < 40 else None
    for column, (name, best_of) in enumerate((("accuracy", max), ("loss", min))):
        axes = figure.add_subplot(grid[0, column])
        values = table[f"val_{name}"]
        axes.plot(epochs, table[name], color="#0072b2", marker=marker, label="training")
        axes.plot(epochs, values, color="#d55e00", marker=marker, label="validation")
        best = best_of(values)
        epoch = epochs[values.index(best)]
        axes.plot(epoch, best, "o", color="#d55e00", markerfacecolor="none", markersize=10)
        axes.set_title(f"{name}: {best_of.__name__}. {best:.4f} in epoch {epoch:.0f}", fontsize=10)
        if name == "loss" and min(table[name] + values) > 0:  # early losses dwarf the rest
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
        axes.set_xlabel("epoch")
        axes.legend(frameon=False)
    axes = figure.add_subplot(grid[1, :])
    axes.step(epochs, table["learning_rate"], where="mid", color="#555555", marker=marker)
    axes.set(yscale="log", ylabel="learning rate")
    axes.tick_params(axis="y", which="both", labelsize=7)  # it is low
    for axes in figure.axes:
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
