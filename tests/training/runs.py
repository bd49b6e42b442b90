"""What the tests of training do with runs."""

from pathlib import Path

import numpy as np
import pytest

from ferplus_keras.config import TrainConfig
from ferplus_keras.models.checkpoint import load_checkpoint
from ferplus_keras.run import FINAL, Run
from ferplus_keras.training import callbacks
from ferplus_keras.training.train import train


def rows(folder: Path) -> list[dict[str, float]]:
    """Return the lines of training.csv."""
    return Run(folder).history()


def final_weights(folder: Path) -> list[np.ndarray]:
    """Return the weights of a run's last model."""
    return load_checkpoint(folder / FINAL)[0].get_weights()


def train_until(config: TrainConfig, epoch: int, batch: int) -> None:
    """Train until Ctrl-C at the beginning of a batch; both are counted from 0."""

    class Cut(callbacks.SetEpoch):
        def on_epoch_begin(self, number, logs=None):
            super().on_epoch_begin(number, logs)
            self.epoch = number

        def on_train_batch_begin(self, number, logs=None):
            if (self.epoch, number) == (epoch, batch):
                raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "SetEpoch", Cut)
        with pytest.raises(KeyboardInterrupt):
            train(config)
