"""What happens beside the weight updates. One callback, one behaviour."""

from __future__ import annotations

import csv
import dataclasses
import signal
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import keras

from ferplus_keras.config import TrainConfig, to_plain
from ferplus_keras.data.batches import Batches
from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing
from ferplus_keras.models.checkpoint import CheckpointInfo, save_checkpoint
from ferplus_keras.progress import progress_bar
from ferplus_keras.training.curves import draw_curves
from ferplus_keras.training.run_folder import CURVES, HISTORY, read_record, write_record


class SetEpoch(keras.callbacks.Callback):
    """Tell the training batches which epoch they belong to."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        self.batches.set_epoch(epoch)


class Interruptible(keras.callbacks.Callback):
    """Never lose a Ctrl-C: what a library swallows is raised again after the batch.

    An exception that Python raises within a garbage-collection hook, of which JAX has one, is
    printed and forgotten; so is the KeyboardInterrupt of a signal that arrives just then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked = False
        self.before: dict[int, Any] = {}

    def on_train_begin(self, logs=None) -> None:
        if self.before or threading.current_thread() is not threading.main_thread():
            return  # every stage begins a training
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as in a shell's background job
                self.before[number] = signal.signal(number, self._interrupt)

    def _interrupt(self, number, frame) -> None:
        self.asked = True
        raise KeyboardInterrupt

    def _raise_if_asked(self) -> None:
        if self.asked:
            raise KeyboardInterrupt

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        self._raise_if_asked()

    def on_test_batch_end(self, batch: int, logs=None) -> None:
        self._raise_if_asked()

    def restore(self) -> None:
        """Put the signal handlers back that were there before training."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}


class Progress(keras.callbacks.Callback):
    """Show a bar with images per second, and one line for each finished epoch.

    Args:
        images: training images an epoch.
        batch_size: images a batch.
        epochs: epochs of the whole run.
    """

    def __init__(self, images: int, batch_size: int, epochs: int) -> None:
        super().__init__()
        self.images = images
        self.batch_size = batch_size
        self.epochs = epochs
        self.images_per_second: list[float] = []
        self.seconds: list[float] = []
        """Wall time of each epoch of this start, validation included."""

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        name = f"epoch {epoch + 1}/{self.epochs}"
        self.bar = progress_bar(total=self.images, desc=name, unit=" images")
        self.started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        self.bar.set_postfix({k: f"{float(v):.4f}" for k, v in (logs or {}).items()}, refresh=False)
        self.bar.update(min(self.batch_size, self.images - self.bar.n))

    def on_test_begin(self, logs=None) -> None:
        self.images_per_second.append(self.images / (time.perf_counter() - self.started))

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        self.bar.close()
        self.seconds.append(time.perf_counter() - self.started)
        numbers = "  ".join(f"{name} {float(value):.4f}" for name, value in (logs or {}).items())
        speed = f"{self.images_per_second[-1]:.0f} images/s"
        print(
            f"epoch {epoch + 1}/{self.epochs}  {numbers}  ({speed})",
            flush=True,
        )

    def on_train_end(self, logs=None) -> None:
        self.bar.close()


class AverageWeights(keras.callbacks.SwapEMAWeights):
    """Validate and save the moving average that the optimiser keeps of the weights.

    The average stands in the network from validation until `put_back`'s callback sees the epoch
    end; in between the other callbacks judge and save it.
    """

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        pass

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        pass

    def on_test_end(self, logs=None) -> None:
        pass

    def put_back(self) -> keras.callbacks.Callback:
        """Return the callback that puts the trained weights back."""
        swap = super().on_test_end
        return keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: swap())


class WeightsAndBiases(keras.callbacks.Callback):
    """Send the settings and each epoch's numbers to Weights & Biases.

    Project and mode are wandb's own: $WANDB_PROJECT, $WANDB_MODE and so on. Its number for the run
    is kept in run.json, so that stages and resumed trainings go on with one run there.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.run = None

    def on_train_begin(self, logs=None) -> None:
        import wandb

        folder = self.config.run_dir
        record = read_record(folder)
        if "wandb_id" not in record:
            record["wandb_id"] = uuid.uuid4().hex
            write_record(folder, record)
        self.run = wandb.init(
            id=record["wandb_id"],
            resume="allow",
            name=self.config.name,
            dir=str(folder),
            config=to_plain(self.config),
            allow_val_change=True,
        )

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        self.run.log({name: float(value) for name, value in logs.items()}, step=epoch + 1)

    def on_train_end(self, logs=None) -> None:
        self.run.finish()


class SaveBest(keras.callbacks.Callback):
    """Keep the checkpoint of the epoch that is best by one logged number.

    Args:
        path: `.keras` file, replaced whole at every improvement.
        monitor: logged number, such as "val_accuracy".
        mode: "max" or "min".
        info: what the checkpoint says of itself; the epoch is filled in.
    """

    state_names = ("best", "best_epoch")

    def __init__(self, path: Path, monitor: str, mode: str, info: CheckpointInfo) -> None:
        super().__init__()
        self.path = path
        self.monitor = monitor
        self.sign = {"max": 1, "min": -1}[mode]
        self.info = info
        self.best: float | None = None
        self.best_epoch = 0

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        value = float(logs[self.monitor])
        if self.best is None or self.sign * value > self.sign * self.best:
            info = dataclasses.replace(self.info, epoch=epoch + 1)
            save_checkpoint(self.model, self.path, info)
            self.best, self.best_epoch = value, epoch + 1


class StopOnNaN(keras.callbacks.Callback):
    """End a run whose loss is no longer a number, saying what to try."""

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        loss = float(logs["loss"])
        if loss != loss:
            raise InputError(
                f"the loss is not a number after epoch {epoch + 1}; "
                "try a lower --init_lr or --mixed_precision none"
            )


class History(keras.callbacks.Callback):
    """Write training.csv and curves.png after every epoch, each whole.

    training.csv has one line an epoch: epoch (from 1), learning_rate, then every logged number.
    """

    state_names = ("rows",)

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.rows: list[dict[str, float]] = []
        self.drawn = float("-inf")

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        self.rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        numbers = {name: float(value) for name, value in sorted(logs.items())}
        numbers.pop("learning_rate", None)
        self.rows.append({"epoch": epoch + 1, "learning_rate": self.rate, **numbers})
        with (
            replacing(self.folder / HISTORY) as temporary,
            temporary.open("w", newline="") as file,
        ):
            writer = csv.DictWriter(file, fieldnames=list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        if time.monotonic() - self.drawn > 10:
            self._draw()

    def on_train_end(self, logs=None) -> None:
        if self.rows:
            self._draw()

    def _draw(self) -> None:
        draw_curves(self.rows, self.folder / CURVES)
        self.drawn = time.monotonic()
