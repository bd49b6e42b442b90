"""Pretraining on faces without labels: two changed views of a face shall be found alike.

SimCLR, after Chen et al. 2020 (arXiv 2002.05709): the backbone's features of both views go through
a small projection, and each view must pick its partner among all others of the batch.
"""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path

import keras
import numpy as np
from keras import ops

from ferplus_keras.config import TrainConfig
from ferplus_keras.data.batches import Batches
from ferplus_keras.data.dataset import Dataset, limit_split
from ferplus_keras.data.label_sets import DATASETS
from ferplus_keras.data.sources import ferplus_votes
from ferplus_keras.data.votes import not_a_face
from ferplus_keras.errors import UsageError
from ferplus_keras.models.checkpoint import save_checkpoint
from ferplus_keras.training import run_folder
from ferplus_keras.training.callbacks import History, Interruptible, Progress, SetEpoch, StopOnNaN
from ferplus_keras.training.devices import compute_dtype
from ferplus_keras.training.fit import (
    build_network,
    checkpoint_info,
    first_record,
    freeze_and_compile,
)
from ferplus_keras.training.schedules import check_policy, learning_rate, plateau
from ferplus_keras.training.train import read_dataset, resolve, starting_weights

TEMPERATURE = 0.2
PROJECTION = (128, 128)
"""Units of the two dense layers behind the features; they are thrown away afterwards."""


class ViewPairs(Batches):
    """Batches of 2b faces: each row's partner, the other view of its face, is b rows away.

    The targets are the partners' row numbers, (2b, 1) int32.
    """

    def _prepare(self, epoch, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._rows(epoch, index)
        views = [self._changed(rows, epoch, index, view) for view in (0, 1)]
        count = len(views[0])
        partners = np.roll(np.arange(2 * count, dtype=np.int32), count)
        return np.concatenate(views), partners[:, None]


def similarities(projections):
    """Return cosines between rows over the temperature, and none of a row with itself.

    Args:
        projections: (n, d) float.

    Returns:
        (n, n) float32 logits.
    """
    rows = ops.normalize(ops.cast(projections, "float32"), axis=1)
    same = ops.eye(ops.shape(rows)[0], dtype="float32")
    return ops.matmul(rows, ops.transpose(rows)) / TEMPERATURE - 1e9 * same


def nt_xent(partners, projections):
    """Return the normalised, temperature-scaled cross-entropy of SimCLR.

    Args:
        partners: (n, 1) row number of each row's partner.
        projections: (n, d) float.

    Returns:
        (n,) float32 losses.
    """
    return keras.losses.sparse_categorical_crossentropy(
        partners, similarities(projections), from_logits=True
    )


def accuracy(partners, projections):
    """Return for each row whether its partner is the row most like it, (n,) float32."""
    return keras.metrics.sparse_categorical_accuracy(partners, similarities(projections))


def pretrain(config: TrainConfig) -> Path:
    """Train a network's backbone without labels and save the network, its head as it began.

    Args:
        config: settings as of a training; those of targets, head, loss, averages, stages, early
            stopping and loggers have no meaning here.

    Returns:
        The run folder: config.yaml, run.json, training.csv, curves.png and final_model.keras.

    Raises:
        InputError: data, weights or run folder cannot be used.
        UsageError: as `check_pretraining`, or a setting that a schedule refuses.
        KeyboardInterrupt: Ctrl-C; nothing can go on from what is on disk.
    """
    check_pretraining(config)
    config = dataclasses.replace(resolve(config), ema=0.0, stages=None, teacher=None)
    check_policy(config)
    run_folder.check_run_folder(config)
    weights = starting_weights(config)
    dataset = faces_without_labels(config)
    train = dataset.splits["train"]
    if config.limit_train:
        train = limit_split(train, config.limit_train, config.seed)
    print(f"pretraining on {len(train.images):,} faces without labels", flush=True)
    batches, validation = (
        ViewPairs(
            split,
            config.batch_size,
            augmentation=config.augmentation,
            sampling="shuffled",
            seed=config.seed,
            workers=config.workers,
        )
        for split in (train, dataset.splits["validation"])
    )

    keras.utils.set_random_seed(config.seed)
    with compute_dtype(config.mixed_precision):
        model, loaded = build_network(config, dataset, weights)
        projector = _with_projection(model)
    rate = learning_rate(config, len(batches))
    boundary = freeze_and_compile(config, projector, rate, nt_xent, [accuracy])
    run_folder.begin_run(config)
    record = first_record(config, dataset, batches, loaded, boundary)
    run_folder.write_record(config.run_dir, record)
    progress = Progress(batches.rows, config.batch_size, config.nepochs)
    interruptible = Interruptible()
    callbacks = [interruptible, SetEpoch(batches), progress, StopOnNaN(), History(config.run_dir)]
    if config.lr_policy == "plateau":
        callbacks.append(plateau(config))
    try:
        projector.fit(
            batches,
            validation_data=validation,
            epochs=config.nepochs,
            callbacks=callbacks,
            shuffle=False,  # Batches shuffles by the seed
            verbose=0,
        )
    finally:
        interruptible.restore()
    path = config.run_dir / run_folder.FINAL
    info = dataclasses.replace(checkpoint_info(config, dataset), epoch=config.nepochs)
    save_checkpoint(model, path, info)
    record |= {
        "epochs": config.nepochs,
        "seconds": sum(progress.seconds),
        "images_per_second": statistics.median(progress.images_per_second),
    }
    run_folder.write_record(config.run_dir, record)
    print(f"train on: python train.py --model_name {config.model_name} --weights {path}")
    return config.run_dir


def check_pretraining(config: TrainConfig) -> None:
    """Refuse settings under which views cannot be told apart or a run cannot go on.

    Raises:
        UsageError: says which setting.
    """
    for refused, why in (
        (config.resume, "pretraining cannot go on where it stopped; leave out --resume"),
        (config.augmentation == "none", "--augmentation none makes both views of a face the same"),
        (config.batch_size == 1, "--batch_size 1 leaves a view no other face to be told from"),
        (config.num_gpus > 1, "--num_gpus above 1 would part the views of a face: use one"),
    ):
        if refused:
            raise UsageError(why)


def faces_without_labels(config: TrainConfig) -> Dataset:
    """Return the data set with every face of every split, also those that a label rule drops.

    Training faces whose pixels are those of a validation or test face are left out, and so is what
    most of FER+'s votes call no face. Own pictures all have labels. Targets are not to be used.
    """
    labelled = read_dataset(config)
    config = dataclasses.replace(config, drop_leaks=True)
    if config.dataset_name == "Folder":
        splits = read_dataset(config).splits
    else:  # FER2013's own labels leave no row out
        fer = {"dataset_name": "FER", "evaluation_rule": None, "class_map": None}
        splits = read_dataset(dataclasses.replace(config, **fer)).splits
    if DATASETS[config.dataset_name].uses_votes:
        faceless = not_a_face(ferplus_votes(config.data_dir).opinions)
        splits = {
            name: split.take(np.flatnonzero(~faceless[split.row_ids]))
            for name, split in splits.items()
        }
    return dataclasses.replace(labelled, splits=splits, counts={})


def _with_projection(model: keras.Model) -> keras.Model:
    """Return the network with two dense layers instead of its dropout and head."""
    x = model.get_layer("dropout_layer").input
    hidden, out = PROJECTION
    x = keras.layers.Dense(hidden, activation="relu", name="projection")(x)
    x = keras.layers.Dense(out, dtype="float32", name="projection_out")(x)
    return keras.Model(model.input, x)
