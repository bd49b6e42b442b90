"""The training run itself: network, optimiser and callbacks, from the first epoch to the last."""

from __future__ import annotations

import dataclasses
import statistics
import sys
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import keras

from ferplus_keras.config import TrainConfig
from ferplus_keras.data.batches import Batches
from ferplus_keras.data.class_weights import class_weights
from ferplus_keras.data.dataset import Dataset, limit_split
from ferplus_keras.errors import InputError
from ferplus_keras.models.checkpoint import CheckpointInfo, save_checkpoint
from ferplus_keras.models.freeze import Boundary, freeze_before, numbered_layers
from ferplus_keras.models.registry import build_with_weights
from ferplus_keras.models.weights import LoadedWeights
from ferplus_keras.provenance import hardware, source_commit, versions
from ferplus_keras.training import run_folder
from ferplus_keras.training.callbacks import (
    AverageWeights,
    History,
    Interruptible,
    Progress,
    SaveBest,
    SetEpoch,
    StopOnNaN,
)
from ferplus_keras.training.devices import compute_dtype, device_scope, use_xla
from ferplus_keras.training.distillation import describe_teachers, teach
from ferplus_keras.training.loggers import LOGGERS
from ferplus_keras.training.losses import find_loss, find_metrics
from ferplus_keras.training.optimizers import build_optimizer
from ferplus_keras.training.regularization import penalise
from ferplus_keras.training.schedules import (
    learning_rate,
    plateau,
    reaches_over_all_epochs,
)
from ferplus_keras.training.stages import stage_configs
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
    stages = stage_configs(config)
    ends = list(accumulate(stage.nepochs for stage in stages))
    loss, metrics = find_loss(config.loss, config.label_rule), find_metrics(config.metrics)
    done = _finished_epochs(config, dataset, ends[-1])
    batches, validation = build_batches(config, dataset)

    keras.utils.set_random_seed(config.seed)
    with device_scope(config.num_gpus), compute_dtype(config.mixed_precision):
        # A resumed run gets every weight from its state.
        model, loaded = build_network(config, dataset, "none" if done else weights)
    for stage in stages:  # a boundary that does not exist is refused now
        freeze_before(model, stage.freeze_before)
    if done:
        run_folder.write_config(config)
        print(f"resuming {config.run_dir} after epoch {done}")

    history = History(config.run_dir)
    progress = Progress(batches.rows, config.batch_size, ends[-1])
    keeping = [*_checkpoints(config, dataset), history]
    logging = [logger for name in config.loggers for logger in LOGGERS[name](config)]
    interruptible = Interruptible()
    try:
        for stage, begin, end in zip(stages, [0, *ends], ends, strict=False):
            if done and end < done:
                continue
            callbacks = _callbacks(stage, batches, progress, keeping, logging)
            with device_scope(config.num_gpus):
                boundary = freeze_and_compile(
                    stage, model, learning_rate(stage, len(batches)), loss, metrics
                )
            if not done and not begin:
                _warn_if_frozen_at_random(loaded, boundary)
                run_folder.begin_run(config)
                run_folder.write_record(
                    config.run_dir, first_record(config, dataset, batches, loaded, boundary)
                )
            if begin < done:
                callbacks[-1].restore = True
                if done == end:  # a stage that is complete only hands its weights on
                    callbacks[-1].set_model(model)
                    callbacks[-1].on_train_begin()
                    # As the end of `fit` does: with a moving average, that is what goes on.
                    model.optimizer.finalize_variable_values(model.trainable_variables)
                    continue
            model.fit(
                batches,
                validation_data=validation,
                epochs=end,
                initial_epoch=max(begin, done),
                callbacks=[interruptible, *callbacks],
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
    return _finish(config, model, checkpoint_info(config, dataset), history, progress)


def build_network(
    config: TrainConfig, dataset: Dataset, weights: str
) -> tuple[keras.Model, LoadedWeights | None]:
    """Return the network and what became of its weights."""
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
    return model, loaded


def freeze_and_compile(
    config: TrainConfig,
    model: keras.Model,
    rate: float | keras.optimizers.schedules.LearningRateSchedule,
    loss: Callable | keras.losses.Loss,
    metrics: list[str | Callable],
) -> Boundary:
    """Freeze and penalise as asked, and give the network a new optimiser."""
    boundary = freeze_before(model, config.freeze_before)
    print(boundary.describe(), flush=True)
    if config.reg_func:
        penalise(model, config.reg_func, config.reg_rate, config.reg_layers, config.reg_bias)
    model.compile(
        _optimizer(config, model, rate),
        loss,
        metrics=metrics,
        jit_compile=use_xla(),
    )
    model.optimizer.build(model.trainable_variables)
    return boundary


def _warn_if_frozen_at_random(loaded: LoadedWeights | None, boundary: Boundary) -> None:
    if loaded is None and boundary.frozen_layers:
        print(
            f"warning: {boundary.frozen_layers} layers stay frozen at random weights "
            "(--weights none with --freeze_before)",
            file=sys.stderr,
        )


def first_record(
    config: TrainConfig,
    dataset: Dataset,
    batches: Batches,
    loaded: LoadedWeights | None,
    boundary: Boundary,
) -> dict[str, Any]:
    """Return run.json as it is when training begins."""
    weights = batches.class_weights
    return {
        "commit": source_commit(),
        "versions": versions(),
        "hardware": hardware(),
        "backend": keras.backend.backend(),
        "seed": config.seed,
        "data": dataset.hashes,
        "label_counts": dataset.counts,
        "train_rows": batches.rows,
        "class_weights": None if weights is None else weights.tolist(),
        "teachers": describe_teachers(config),
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


def build_batches(config: TrainConfig, dataset: Dataset) -> tuple[Batches, Batches]:
    """Return the augmented, weighted training batches and the plain validation batches."""
    split = dataset.splits["train"]
    if config.limit_train:
        split = limit_split(split, config.limit_train, config.seed)
        print(f"training on {len(split.images)} of the training rows (--limit_train)")
    weights = class_weights(config.class_weights, split, dataset.name, dataset.label_rule)
    if config.teacher:
        share = 0.5 if config.teacher_weight is None else config.teacher_weight
        split = teach(split, config.teacher, share)
    batches = Batches(
        split,
        config.batch_size,
        augmentation=config.augmentation,
        sampling=config.sampling,
        seed=config.seed,
        class_weights=weights,
        draw=dataset.draw,
        label_smoothing=config.label_smoothing,
        mixup_alpha=config.mixup,
        cutmix_alpha=config.cutmix,
        workers=config.workers,
    )
    return batches, Batches(dataset.splits["validation"], config.batch_size)


def _finished_epochs(config: TrainConfig, dataset: Dataset, planned: int) -> int:
    """Return how many epochs an interrupted run has finished; 0 for a new run.

    Raises:
        InputError: the run is complete, or the data are no longer the ones it began with.
    """
    state = config.run_dir / run_folder.STATE
    if not config.resume or not state.is_file():
        return 0
    header = read_header(state)
    if header["stopped"] or header["epochs"] >= planned:
        why = "raise --nepochs to go on"
        if header["stopped"]:
            why = "early stopping ended it"
        elif config.stages or reaches_over_all_epochs(config):
            final = config.run_dir / run_folder.FINAL
            why = f"its learning rate was planned to the end; start another with --weights {final}"
        raise InputError(f"{config.run_dir} is complete after {header['epochs']} epochs: {why}")
    record = run_folder.read_record(config.run_dir)
    for which, then, now in (
        (f"files in {config.data_dir}", record["data"], dataset.hashes),
        ("teachers", record.get("teachers", []), describe_teachers(config)),
    ):
        if then != now:
            raise InputError(
                f"--resume: the {which} are not the ones that {config.run_dir} "
                f"began with (SHA-256 in {run_folder.RECORD})"
            )
    return header["epochs"]


def _optimizer(
    config: TrainConfig,
    model: keras.Model,
    rate: float | keras.optimizers.schedules.LearningRateSchedule,
) -> keras.optimizers.Optimizer:
    backbone = [v.path for layer in numbered_layers(model)[:-1] for v in layer.trainable_variables]
    return build_optimizer(
        config.optimizer,
        rate,
        betas=(config.adam_b1, config.adam_b2),
        momentum=config.momentum,
        arguments=config.optimizer_args or (),
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        ema=config.ema,
        slow=backbone,
        slow_factor=config.trunk_lr,
    )


def checkpoint_info(config: TrainConfig, dataset: Dataset) -> CheckpointInfo:
    """Return what the run's checkpoints say of themselves; the epoch is filled in later."""
    return CheckpointInfo(
        model_name=config.model_name,
        image_size=config.image_size,
        class_names=dataset.class_names,
        dataset_name=dataset.name,
        label_rule=dataset.label_rule,
        evaluation_rule=dataset.evaluation_rule,
        class_map=config.class_map,
    )


def _checkpoints(config: TrainConfig, dataset: Dataset) -> list[SaveBest]:
    """Return what keeps the best weights of the whole run."""
    info = checkpoint_info(config, dataset)
    return [
        SaveBest(config.run_dir / run_folder.MAX_ACCURACY, "val_accuracy", "max", info),
        SaveBest(config.run_dir / run_folder.MIN_LOSS, "val_loss", "min", info),
    ]


def _callbacks(
    config: TrainConfig,
    batches: Batches,
    progress: Progress,
    keeping: list[keras.callbacks.Callback],
    logging: list[keras.callbacks.Callback],
) -> list[keras.callbacks.Callback]:
    """Return the callbacks in the order in which they must see an epoch end."""
    average = AverageWeights() if config.ema else None
    remembering = [
        *([plateau(config)] if config.lr_policy == "plateau" else []),
        *keeping,
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
        *([average] if average else []),
        *remembering,
        *logging,
        *([average.put_back()] if average else []),
        SaveState(config.run_dir / run_folder.STATE, remembering),
    ]
