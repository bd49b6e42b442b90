"""Run `fit` on Batches under $KERAS_BACKEND and print what the model was really given, as JSON.

Arguments: numbers of workers; each gets one entry, a list with a `summary` of every epoch.
"""

import hashlib
import json
import sys
from collections.abc import Callable

import keras
import numpy as np

from ferplus_keras.data.batches import Batches
from ferplus_keras.data.dataset import Split

EPOCHS, BATCH_SIZE, CLASSES = 3, 4, 3
SETTINGS = {
    "augmentation": "wtomin",
    "sampling": "shuffled",
    "seed": 7,
    "class_weights": [1.0, 2.0, 0.5],
    "draw": True,
}


def numbered_split(rows: int) -> Split:
    """Return `rows` grey images whose level is four times their number; targets are drawn."""
    images = np.full((rows, 48, 48), 4 * np.arange(rows)[:, None, None], np.uint8)
    targets = np.random.default_rng(0).dirichlet(np.ones(CLASSES), rows).astype(np.float32)
    return Split(images, targets, np.arange(rows), ("a", "b", "c"))


def summary(batches: list) -> dict:
    """Return the sizes of `batches` and a hash of their images and targets, in order."""
    content = hashlib.sha256()
    for batch in batches:
        for array in batch[:2]:
            content.update(np.ascontiguousarray(array).tobytes())
    return {"sizes": [len(batch[0]) for batch in batches], "sha256": content.hexdigest()}


class Recorder(keras.layers.Layer):
    """Hands every batch of images that passes while `fit` trains to a function."""

    def __init__(self, record: Callable):
        super().__init__()
        self.record = record

    def call(self, images, training=False):
        if training:
            self.record(images)
        return keras.ops.cast(images[:, ::16, ::16], "float32")


class NewEpoch(keras.callbacks.Callback):
    def __init__(self, batches: Batches, *seen: list):
        super().__init__()
        self.batches, self.seen = batches, seen

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.set_epoch(epoch)
        for lists in self.seen:
            lists.append([])


def recorded_fit(workers: int) -> list[dict]:
    """Train and return one `summary` an epoch."""
    images, targets = [], []  # of each epoch, a list of batches

    def keep(batch, lists):
        if lists:  # not while the model is built
            lists[-1].append(np.array(keras.ops.convert_to_numpy(batch)))

    def loss(y_true, y_pred):
        keep(y_true, targets)
        return keras.losses.categorical_crossentropy(y_true, y_pred)

    inputs = keras.Input((48, 48), dtype="uint8")
    x = keras.layers.Flatten()(Recorder(lambda batch: keep(batch, images))(inputs))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, activation="softmax")(x))
    model.compile(keras.optimizers.SGD(1e-6), loss, run_eagerly=True)
    batches = Batches(numbered_split(50), BATCH_SIZE, workers=workers, **SETTINGS)
    model.fit(
        batches,
        epochs=EPOCHS,
        shuffle=False,
        callbacks=[NewEpoch(batches, images, targets)],
        validation_data=Batches(numbered_split(9), BATCH_SIZE, sampling=None),
        verbose=0,
    )
    return [  # the targets after an epoch's training batches are validation's
        summary(list(zip(seen, given[: len(seen)], strict=True)))
        for seen, given in zip(images, targets, strict=True)
    ]


if __name__ == "__main__":
    json.dump({workers: recorded_fit(int(workers)) for workers in sys.argv[1:]}, sys.stdout)
