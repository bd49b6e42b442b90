"""Pretraining on faces without labels: two augmented views of a face are to be found alike.

SimCLR, after Chen et al. 2020 (arXiv 2002.05709): the backbone's features of both views go through
a small projection, and each view must pick its partner among all others of the batch.
"""

from __future__ import annotations

import dataclasses
import shlex
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
from keras import ops

from ferplus_keras.arguments import to_plain
from ferplus_keras.data.batches import Batches
from ferplus_keras.data.dataset import Dataset, Split, limit_split, read_excluded
from ferplus_keras.data.targets import Labels
from ferplus_keras.errors import UsageError
from ferplus_keras.models.checkpoint import save_checkpoint
from ferplus_keras.run import FINAL, Run
from ferplus_keras.training import callbacks as hooks
from ferplus_keras.training.devices import compute_dtype
from ferplus_keras.training.prepare import Prepared, build_network, checkpoint_info, compile_stage
from ferplus_keras.training.schedules import plan_stages, waiting
from ferplus_keras.training.settle import read_dataset, resolve, starting_weights
from ferplus_keras.training.train import first_record

if TYPE_CHECKING:
    from ferplus_keras.config import TrainConfig

TEMPERATURE = 0.2
PROJECTION = (128, 128)
"""Units of the two dense layers behind the features; they are thrown away afterwards."""


def pretrain(config: TrainConfig) -> Path:
    """Train a network's backbone without labels and save the network, its head as it began.

    Settings of targets, head, loss, averages, stages, early stopping and loggers have no meaning
    here, and a pretraining cannot be resumed.

    Returns:
        The run folder: config.yaml, run.json, training.csv, curves.png and final_model.keras.

    Raises:
        InputError, UsageError: as `train`, or settings under which views cannot be told apart.
    """
    for refused, why in (
        (config.resume, "a pretraining cannot be resumed; leave out --resume"),
        (config.augmentation == "none", "--augmentation none makes both views of a face the same"),
        (config.batch_size == 1, "--batch_size 1 leaves a view no other face to be told from"),
        (config.batch_size == "auto", "--batch_size auto is for train.py and test.py only"),
        (config.num_gpus > 1, "--num_gpus above 1 would separate the views of a face: use one"),
        (
            config.coordinator or (config.num_processes or 1) > 1,
            "a pretraining runs in one process; leave out --coordinator and --num_processes",
        ),
    ):
        if refused:
            raise UsageError(why)
    config = dataclasses.replace(resolve(config), ema=0.0, stages=None, teacher=None)
    (stage,) = plan_stages(config)
    run = Run(config.run_dir)
    run.require_usable(resume=False, overwrite=config.overwrite)
    weights = starting_weights(config)
    with run.writing():
        dataset, config = read_dataset(config)
        faces = faces_without_labels(dataset, config.exclude)
        train = limit_split(faces["train"], config.limit_train, config.seed)
        print(f"pretraining on {len(train.images):,} faces without labels", flush=True)
        how = {name: getattr(config, name) for name in ("augmentation", "seed", "workers")}
        batches = ViewPairs(train, config.batch_size, **how)
        validation = limit_split(faces["validation"], config.limit_validation, config.seed)
        validation = ViewPairs(validation, config.batch_size, **how)
        model, loaded = build_network(config, train, weights)
        with compute_dtype(config.mixed_precision):  # two dense layers instead of dropout and head
            x = model.get_layer("dropout_layer").input
            x = keras.layers.Dense(PROJECTION[0], activation="relu", name="projection")(x)
            x = keras.layers.Dense(PROJECTION[1], dtype="float32", name="projection_out")(x)
            projector = keras.Model(model.input, x)  # whose policy decides on scaling the loss
        prepared = Prepared(model, loaded, batches, validation, nt_xent, [accuracy])
        boundary = compile_stage(config, prepared, stage, network=projector)
        if config.overwrite:
            run.clear()
        run.write_settings(to_plain(config))
        run.write_record(first_record(config, dataset, prepared, boundary) | {"label_counts": {}})
        progress = hooks.Progress(batches, validation, stage.epochs)
        with hooks.Interruptible() as interruptible, closing(progress):
            projector.fit(
                batches,
                validation_data=validation,
                epochs=stage.epochs,
                callbacks=[
                    interruptible,
                    hooks.SetEpoch(batches),
                    progress,
                    hooks.StopOnNaN(),
                    hooks.History(run),
                    *waiting(stage),
                ],
                shuffle=False,  # Batches shuffles by the seed
                verbose=0,
            )
        info = dataclasses.replace(checkpoint_info(config, dataset), epoch=stage.epochs)
        save_checkpoint(model, run / FINAL, info)
        run.write_record(run.record() | progress.record())
    words = ["--model_name", config.model_name, "--weights", str(run / FINAL)]
    print(f"train on: python -m ferplus_keras train {shlex.join(words)}")
    return run.folder


def faces_without_labels(dataset: Dataset, exclude: str | None) -> dict[str, Split]:
    """Return every training and validation face, also those that the label rule drops.

    Training faces whose pixels are those of a validation or test face are left out, and so are
    those of the list `exclude` and what most annotators call no face. The targets have no meaning.
    """
    source, rows = dataset.source, len(dataset.source.rows.splits)
    unwanted = source.leaked | (read_excluded(exclude, source.rows)[0] if exclude else False)
    keep = ~(unwanted & (source.rows.splits == "train"))
    if source.label_set.uses_votes:
        keep &= source.rows.opinions[:, -1] <= source.rows.opinions[:, :-1].sum(axis=1)  # NF last
    targets = np.ones((rows, len(source.class_names)), np.float32)
    labels = Labels(targets, np.where(keep, "", "left out"))
    return {name: source.split(name, dataset.rule, labels) for name in ("train", "validation")}


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
    """Return (n, n) logits of projections (n, d): cosines over the temperature, but with itself."""
    rows = ops.normalize(ops.cast(projections, "float32"), axis=1)
    same = ops.eye(ops.shape(rows)[0], dtype="float32")
    return ops.matmul(rows, ops.transpose(rows)) / TEMPERATURE - 1e9 * same


def nt_xent(partners, projections):
    """Return SimCLR's cross-entropy, (n,), given the row number of each row's partner, (n, 1)."""
    return keras.losses.sparse_categorical_crossentropy(
        partners, similarities(projections), from_logits=True
    )


def accuracy(partners, projections):
    """Return for each row whether its partner is the row most like it, (n,) float32."""
    return keras.metrics.sparse_categorical_accuracy(partners, similarities(projections))
