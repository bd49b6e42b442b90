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
from ferplus_keras.data.split import Split, limit_split
from ferplus_keras.errors import UsageError
from ferplus_keras.models.checkpoint import CheckpointInfo, save_checkpoint
from ferplus_keras.models.registry import build_with_weights
from ferplus_keras.provenance import hardware, source_commit, versions
from ferplus_keras.training import run_folder
from ferplus_keras.training.callbacks import History, Interruptible, Progress, SetEpoch, StopOnNaN
from ferplus_keras.training.devices import compute_dtype, device_scope, use_xla
from ferplus_keras.training.optimizers import build_optimizer
from ferplus_keras.training.schedules import check_policy, learning_rate, plateau
from ferplus_keras.training.train import read_dataset, resolve, starting_weights

TEMPERATURE = 0.2
PROJECTION = (128, 64)
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
        config: settings as of a training; those of labels, head, loss, freezing, averages and
            stages have no meaning here.

    Returns:
        The run folder: config.yaml, run.json, training.csv, curves.png and final_model.keras.

    Raises:
        InputError: data, weights or run folder cannot be used.
        UsageError: `resume`, or a setting that a schedule refuses.
        KeyboardInterrupt: Ctrl-C; nothing is kept but training.csv.
    """
    if config.resume:
        raise UsageError("pretraining cannot go on where it stopped; leave out --resume")
    config = dataclasses.replace(resolve(config), ema=0.0, stages=None)
    check_policy(config)
    run_folder.check_run_folder(config)
    weights = starting_weights(config)
    labelled = read_dataset(config)
    splits = faces_without_labels(config)
    train = splits["train"]
    if config.limit_train:
        train = limit_split(train, config.limit_train, config.seed)
    print(f"pretraining on {len(train.images):,} faces without labels", flush=True)

    keras.utils.set_random_seed(config.seed)
    batches, validation = (
        ViewPairs(
            split,
            config.batch_size,
            augmentation=config.augmentation,
            sampling="shuffled",
            seed=config.seed,
            workers=config.workers,
        )
        for split in (train, splits["validation"])
    )
    with device_scope(config.num_gpus), compute_dtype(config.mixed_precision):
        model, loaded = build_with_weights(
            config.model_name,
            len(labelled.class_names),
            weights=weights,
            image_size=config.image_size,
            dropout_rate=config.dropout_rate,
            activation=config.activation,
        )
        projector = _with_projection(model)
    _compile(config, projector, len(batches))
    run_folder.begin_run(config)
    history = History(config.run_dir)
    progress = Progress(batches.rows, config.batch_size, config.nepochs)
    interruptible = Interruptible()
    callbacks = [interruptible, SetEpoch(batches), progress, StopOnNaN(), history]
    if config.lr_policy == "plateau":
        callbacks.append(plateau(config))
    try:
        projector.fit(
            batches,
            validation_data=validation,
            epochs=config.nepochs,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )
    finally:
        interruptible.restore()
    info = CheckpointInfo(
        model_name=config.model_name,
        image_size=config.image_size,
        class_names=labelled.class_names,
        dataset_name=labelled.name,
        label_rule=labelled.label_rule,
        evaluation_rule=labelled.evaluation_rule,
        class_map=config.class_map,
        epoch=config.nepochs,
    )
    path = config.run_dir / run_folder.FINAL
    save_checkpoint(model, path, info)
    record = {
        "commit": source_commit(),
        "versions": versions(),
        "hardware": hardware(),
        "backend": keras.backend.backend(),
        "seed": config.seed,
        "data": labelled.hashes,
        "train_rows": batches.rows,
        "weights": loaded and {"path": str(loaded.path), "sha256": loaded.sha256},
        "epochs": config.nepochs,
        "seconds": sum(progress.seconds),
        "images_per_second": statistics.median(progress.images_per_second),
    }
    run_folder.write_record(config.run_dir, record)
    print(f"train on: python train.py --model_name {config.model_name} --weights {path}")
    return config.run_dir


def faces_without_labels(config: TrainConfig) -> dict[str, Split]:
    """Return every face of every split, also those that a label rule drops.

    Training faces whose pixels are those of a validation or test face are left out. Own pictures
    all have labels.
    """
    if config.dataset_name != "Folder":  # FER2013's own labels leave no row out
        fer = {"dataset_name": "FER", "evaluation_rule": None, "class_map": None}
        config = dataclasses.replace(config, **fer)
    return read_dataset(dataclasses.replace(config, drop_leaks=True)).splits


def _with_projection(model: keras.Model) -> keras.Model:
    """Return the network with two dense layers instead of its dropout and head."""
    x = model.get_layer("dropout_layer").input
    hidden, out = PROJECTION
    x = keras.layers.Dense(hidden, activation="relu", name="projection")(x)
    x = keras.layers.Dense(out, dtype="float32", name="projection_out")(x)
    return keras.Model(model.input, x)


def _compile(config: TrainConfig, projector: keras.Model, steps: int) -> None:
    optimizer = build_optimizer(
        config.optimizer,
        learning_rate(config, steps),
        betas=(config.adam_b1, config.adam_b2),
        momentum=config.momentum,
        arguments=config.optimizer_args or (),
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
    )
    projector.compile(optimizer, nt_xent, metrics=[accuracy], jit_compile=use_xla())
