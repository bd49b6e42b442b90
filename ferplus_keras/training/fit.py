"""The training run itself: network, optimiser and callbacks, from the first epoch to the last."""

from __future__ import annotations

import dataclasses
import statistics
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras

from ferplus_keras.config import TrainConfig
from ferplus_keras.data.batches import Batches
from ferplus_keras.data.class_weights import class_weights
from ferplus_keras.data.dataset import Dataset, limit_split
from ferplus_keras.errors import InputError
from ferplus_keras.models.checkpoint import CheckpointInfo, save_checkpoint
from ferplus_keras.models.freeze import Boundary, freeze_before
from ferplus_keras.models.registry import build_with_weights
from ferplus_keras.models.weights import LoadedWeights
from ferplus_keras.training import run_folder
from ferplus_keras.training.callbacks import (
    History,
    Interruptible,
    Progress,
    SaveBest,
    SetEpoch,
    StopOnNaN,
)
from ferplus_keras.training.devices import compute_dtype, device_scope, list_gpus, use_xla
from ferplus_keras.training.losses import find_loss, find_metrics
from ferplus_keras.training.regularization import penalise
from ferplus_keras.training.schedules import SCHEDULES
from ferplus_keras.training.state import SaveState, read_header


def fit(config: TrainConfig, dataset: Dataset, weights: str) -> Path:
    """Build, train and save a network on data that are already read.

    Args:
        config: settings of the run, whose folder may be written.
        dataset: the splits; the test split is not looked at.
        weights: "vggface2", "none" or a path.

    Returns:
        The run folder.

    Raises:
        InputError: the weights do not fit, the run is complete, or its data have changed.
        KeyboardInterrupt: Ctrl-C; the state of the last finished epoch is on disk.
    """
    loss, metrics = find_loss(config.loss, config.label_rule), find_metrics(config.metrics)
    batches, validation = _batches(config, dataset)
    done = _finished_epochs(config, dataset)

    keras.utils.set_random_seed(config.seed)
    with device_scope(config.num_gpus), compute_dtype(config.mixed_precision):
        # A resumed run gets every weight from its state.
        model, loaded, boundary = _build(config, dataset, "none" if done else weights)
        model.compile(_optimizer(config), loss, metrics=metrics, jit_compile=use_xla())
        model.optimizer.build(model.trainable_variables)
    if done:
        print(f"resuming {config.run_dir} after epoch {done}")
    else:
        _warn_if_frozen_at_random(loaded, boundary)
        run_folder.begin_run(config)
        run_folder.write_record(
            config.run_dir, _first_record(config, dataset, batches, loaded, boundary)
        )

    info = CheckpointInfo(
        config.model_name,
        config.image_size,
        dataset.class_names,
        dataset.name,
        dataset.label_rule,
        dataset.evaluation_rule,
    )
    history = History(config.run_dir)
    progress = Progress(batches.rows, config.batch_size)
    interruptible = Interruptible()
    others = _callbacks(config, batches, info, progress, history, restore=bool(done))
    try:
        model.fit(
            batches,
            validation_data=validation,
            epochs=config.nepochs,
            initial_epoch=done,
            callbacks=[interruptible, *others],
            shuffle=False,  # Batches shuffles by the seed; Keras would, by Python's generator
            verbose=0,
        )
    except KeyboardInterrupt:
        print(
            f"\nstopped after {len(history.rows)} finished epochs; go on with: python train.py "
            f"--checkpoints_dir {config.checkpoints_dir} --name {config.name} --resume",
            file=sys.stderr,
        )
        raise
    finally:
        interruptible.restore()
    return _finish(config, model, info, history, progress)


def _build(
    config: TrainConfig, dataset: Dataset, weights: str
) -> tuple[keras.Model, LoadedWeights | None, Boundary]:
    """Return the network, frozen and penalised as asked, and what became of its weights."""
    model, loaded = build_with_weights(
        config.model_name,
        len(dataset.class_names),
        weights=weights,
        image_size=config.image_size,
        dropout_rate=config.dropout_rate,
        activation=config.activation,
    )
    if loaded:
        print(f"weights: {loaded}")
    boundary = freeze_before(model, config.freeze_before)
    print(boundary.describe(), flush=True)
    if config.reg_func:
        penalise(model, config.reg_func, config.reg_rate, config.reg_layers, config.reg_bias)
    return model, loaded, boundary


def _warn_if_frozen_at_random(loaded: LoadedWeights | None, boundary: Boundary) -> None:
    if loaded is None and boundary.frozen_layers:
        print(
            f"warning: {boundary.frozen_layers} layers stay frozen at random weights "
            "(--weights none with --freeze_before)",
            file=sys.stderr,
        )


def _first_record(
    config: TrainConfig,
    dataset: Dataset,
    batches: Batches,
    loaded: LoadedWeights | None,
    boundary: Boundary,
) -> dict[str, Any]:
    """Return run.json as it is when training begins."""
    weights = batches.class_weights
    return {
        "versions": run_folder.versions(),
        "backend": keras.backend.backend(),
        "devices": list_gpus() or ["cpu"],
        "seed": config.seed,
        "data": dataset.hashes,
        "label_counts": dataset.counts,
        "train_rows": batches.rows,
        "class_weights": None if weights is None else weights.tolist(),
        "weights": loaded and {"path": str(loaded.path), "sha256": loaded.sha256},
        "freeze_before": boundary._asdict(),
    }


def _finish(
    config: TrainConfig,
    model: keras.Model,
    info: CheckpointInfo,
    history: History,
    progress: Progress,
) -> Path:
    """Save the last model, complete run.json and say where everything is."""
    folder = config.run_dir
    epochs = len(history.rows)
    save_checkpoint(model, folder / run_folder.FINAL, dataclasses.replace(info, epoch=epochs))
    best = max(history.rows, key=lambda row: row["val_accuracy"])
    record = run_folder.read_record(folder)
    record |= {
        "epochs": epochs,
        "best": best,
        "seconds": record.get("seconds", 0) + sum(progress.seconds),
        "images_per_second": statistics.median(progress.images_per_second),
    }
    run_folder.write_record(folder, record)
    print(
        f"best validation accuracy {best['val_accuracy']:.4f} in epoch {best['epoch']}\n"
        f"curves: {folder / run_folder.CURVES}\n"
        f"evaluate: python test.py --checkpoint_path {folder / run_folder.MAX_ACCURACY}"
    )
    return folder


def _batches(config: TrainConfig, dataset: Dataset) -> tuple[Batches, Batches]:
    """Return the augmented, weighted training batches and the plain validation batches."""
    split = dataset.splits["train"]
    if config.limit_train:
        split = limit_split(split, config.limit_train, config.seed)
        print(f"training on {len(split.images)} of the training rows (--limit_train)")
    weights = class_weights(config.class_weights, split, dataset.name, dataset.label_rule)
    batches = Batches(
        split,
        config.batch_size,
        augmentation=config.augmentation,
        shuffle=True,
        seed=config.seed,
        class_weights=weights,
        draw=dataset.draw,
        workers=config.workers,
    )
    return batches, Batches(dataset.splits["validation"], config.batch_size)


def _finished_epochs(config: TrainConfig, dataset: Dataset) -> int:
    """Return how many epochs an interrupted run has finished; 0 for a new run.

    Raises:
        InputError: the run is complete, or the data are no longer the ones it began with.
    """
    state = config.run_dir / run_folder.STATE
    if not config.resume or not state.is_file():
        return 0
    header = read_header(state)
    if header["stopped"] or header["epochs"] >= config.nepochs:
        why = "early stopping ended it" if header["stopped"] else "raise --nepochs to go on"
        raise InputError(f"{config.run_dir} is complete after {header['epochs']} epochs: {why}")
    began_with = run_folder.read_record(config.run_dir)["data"]
    if began_with != dataset.hashes:
        raise InputError(
            f"--resume: the files in {config.data_dir} are not the ones that {config.run_dir} "
            f"began with (SHA-256 in {run_folder.RECORD})"
        )
    return header["epochs"]


def _optimizer(config: TrainConfig) -> keras.optimizers.Optimizer:
    if config.optimizer == "Adam":
        return keras.optimizers.Adam(config.init_lr, beta_1=config.adam_b1, beta_2=config.adam_b2)
    return keras.optimizers.SGD(config.init_lr, momentum=config.momentum, nesterov=True)


def _callbacks(
    config: TrainConfig,
    batches: Batches,
    info: CheckpointInfo,
    progress: Progress,
    history: History,
    restore: bool,
) -> list[keras.callbacks.Callback]:
    """Return the callbacks in the order in which they must see an epoch end."""
    folder = config.run_dir
    remembering = [
        SCHEDULES[config.lr_policy](config),
        SaveBest(folder / run_folder.MAX_ACCURACY, "val_accuracy", "max", info),
        SaveBest(folder / run_folder.MIN_LOSS, "val_loss", "min", info),
        history,
    ]
    if config.early_stopping:
        remembering.append(
            keras.callbacks.EarlyStopping(
                monitor="val_accuracy", mode="max", patience=config.early_stopping
            )
        )
    return [
        SetEpoch(batches),
        progress,
        StopOnNaN(),
        *remembering,
        *_tensorboard(folder),
        SaveState(folder / run_folder.STATE, remembering, restore),
    ]


def _tensorboard(folder: Path) -> list[keras.callbacks.Callback]:
    """Return the TensorBoard logger, which needs TensorFlow whatever the backend."""
    missing = [name for name in ("tensorflow", "tensorboard") if not find_spec(name)]
    if missing:
        print(f"no TensorBoard logs without {' and '.join(missing)}; training.csv has the numbers")
        return []
    return [keras.callbacks.TensorBoard(folder / run_folder.LOGS, write_graph=False)]
