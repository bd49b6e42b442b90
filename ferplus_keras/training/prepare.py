"""What a run needs before its first step: settings checked, data, network, batches, optimiser."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ferplus_keras.data.dataset import DATASETS, Dataset, load_dataset
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.hardware import announce
from ferplus_keras.hub import SCHEME
from ferplus_keras.models.registry import MODELS
from ferplus_keras.run import READING, find_checkpoint
from ferplus_keras.training.distillation import check_teachers, distil
from ferplus_keras.training.schedules import Stage, learning_rate, plan_stages

if TYPE_CHECKING:
    import keras

    from ferplus_keras.config import TrainConfig
    from ferplus_keras.data.batches import Batches
    from ferplus_keras.models.checkpoint import CheckpointInfo
    from ferplus_keras.models.freeze import Boundary
    from ferplus_keras.models.weights import LoadedWeights


CALIBRATION_FACES = 800
"""Training faces on which a network without statistics of its own is calibrated."""


def resolve(config: TrainConfig) -> TrainConfig:
    """Return the configuration with the defaults filled in that depend on other settings."""
    spec = MODELS[config.model_name]
    own = {
        "weights": spec.default_weights if config.checkpoint_path is None else None,
        "image_size": spec.image_size,
        "dropout_rate": spec.dropout_rate,
        "colour": False if spec.channel_order == "grey" else None,
        # Classes that are drawn equally often must not be weighted as if they were not.
        "class_weights": ("none",) if config.sampling == "balanced" else None,
    }
    return dataclasses.replace(
        config, **{key: value for key, value in own.items() if getattr(config, key) is None}
    )


def check_targets(config: TrainConfig) -> None:
    """Refuse what cannot be done to the targets of the label rule, and teachers of no use.

    Raises:
        UsageError: a setting needs targets that can be blended.
        InputError, UsageError: as `check_teachers`.
    """
    kind = DATASETS[config.dataset_name].rule(config.label_rule).kind
    changing = ("label_smoothing", "teacher", "mixup", "cutmix")
    asked = [name for name in changing if getattr(config, name)]
    if asked and not kind.mixable:
        raise UsageError(
            f"--{asked[0]} needs targets that are distributions; those of --label_rule "
            f"{config.label_rule} are each a {kind.name}: sets of right classes cannot be blended"
        )
    check_teachers(config.teacher, config.teacher_weight, config.overwrite and config.run_dir)


def starting_weights(config: TrainConfig) -> str:
    """Return what the network starts from, checked as far as is quick."""
    if config.checkpoint_path and config.weights:
        raise UsageError(
            f"--checkpoint_path {config.checkpoint_path} and --weights {config.weights} both say "
            "where to start: give one"
        )
    weights = config.checkpoint_path or config.weights
    known = [*MODELS[config.model_name].weights, "none"]
    if weights in known:
        return weights
    try:
        return str(find_checkpoint(weights))
    except InputError:
        if weights.startswith(SCHEME):  # the Hub's own message says why
            raise
        expected = " or ".join(f"'{name}'" for name in known)
        raise InputError(
            f"no weights at {weights}: expected {expected}, a file or a run folder"
        ) from None


def read_dataset(config: TrainConfig) -> Dataset:
    """Return the data that a run is trained and validated on."""
    return load_dataset(
        config.data_dir,
        config.dataset_name,
        config.label_rule,
        config.cache_dir,
        config.evaluation_rule,
        class_map=config.class_map,
        drop_leaks=config.drop_leaks,
        exclude=config.exclude,
        **reading(config),
    )


def reading(config: TrainConfig) -> dict[str, Any]:
    """Return how own pictures are read, as `open_source` takes it."""
    names = (*READING, "face_size", "colour")
    return {name: getattr(config, name) for name in names} | {"largest": config.image_size}


def with_faces_of(config: TrainConfig, dataset: Dataset) -> TrainConfig:
    """Return the configuration with the size and colour that were chosen."""
    _, size, _, *channels = dataset.splits["train"].images.shape
    return dataclasses.replace(config, face_size=size, colour=bool(channels))


class Prepared(NamedTuple):
    """What is trained, and on what."""

    model: keras.Model  # not compiled
    loaded: LoadedWeights | None  # None for random weights
    batches: Batches  # augmented and weighted
    validation: Batches  # plain
    loss: Any  # as `compile` takes it
    metrics: list  # likewise


def build_network(
    config: TrainConfig, dataset: Dataset, weights: str, images: np.ndarray
) -> tuple[keras.Model, LoadedWeights | None]:
    """Return the configured network, random by the seed where no weights fill it, and those.

    Weights without statistics are calibrated on some of the training faces `images`, (n, h, w) or
    (n, h, w, 3) uint8, spread over all of them.
    """
    import keras

    from ferplus_keras.models.calibration import calibrate
    from ferplus_keras.models.registry import build_with_weights
    from ferplus_keras.training.devices import (
        compute_dtype,
        device_scope,
        faster_backend,
        find_devices,
    )

    keras.utils.set_random_seed(config.seed)
    with device_scope(config.num_gpus), compute_dtype(config.mixed_precision):
        model, loaded = build_with_weights(
            config.model_name,
            len(dataset.class_names),
            weights=weights,
            image_size=config.image_size,
            dropout_rate=config.dropout_rate,
            activation=config.activation,
            face_size=images.shape[1],
            colour=images.ndim == 4,
        )
    half = config.mixed_precision
    announce("training", "float32" if half == "none" else half, gpus=config.num_gpus)
    if devices := find_devices(config.num_gpus):
        devices.take_over(model)
    elif note := faster_backend(config.model_name):
        print(note, file=sys.stderr)
    if loaded:
        print(f"weights: {loaded}")
    if loaded and loaded.affine:
        count = min(len(images), CALIBRATION_FACES)
        calibrate(model, images[np.linspace(0, len(images) - 1, count).astype(int)])
        print(f"its normalisation was calibrated on {count} training faces")
    return model, loaded


def prepare(config: TrainConfig, dataset: Dataset, weights: str) -> Prepared:
    """Return the network with its starting weights, and the batches it is trained on."""
    from ferplus_keras.data.batches import Batches
    from ferplus_keras.data.class_weights import class_weights
    from ferplus_keras.data.dataset import limit_split
    from ferplus_keras.models.freeze import freeze_before
    from ferplus_keras.training.devices import find_devices, training_batch
    from ferplus_keras.training.losses import find_loss, find_metrics

    split = dataset.splits["train"]
    loss = find_loss(config.loss or split.kind.loss)
    metrics = find_metrics(config.metrics, split.kind.accuracy)
    validation = dataset.splits["validation"]
    if config.limit_train:
        split = limit_split(split, config.limit_train, config.seed)
        print(f"training on {len(split.images)} of the training rows (--limit_train)")
    if config.limit_validation:
        validation = limit_split(validation, config.limit_validation, config.seed)
        print(f"validating on {len(validation.images)} rows (--limit_validation)")
    weighting = class_weights(config.class_weights, split, dataset.name, dataset.label_rule)
    if config.teacher:
        share = 0.5 if config.teacher_weight is None else config.teacher_weight
        split = distil(split, config.teacher, share)
    shares = find_devices(config.num_gpus)
    if (size := config.batch_size) == "auto" and (shares or config.num_gpus > 1):
        raise UsageError("--batch_size auto needs one process on one device; give a number")
    model, loaded = build_network(config, dataset, weights, split.images)
    if size == "auto":
        boundaries = {stage.freeze_before for stage in plan_stages(config)}
        freeze_before(model, min(boundaries, key=lambda b: freeze_before(model, b).frozen_layers))
        size = training_batch(model, loss, split.images, split.targets)
        print(f"batch size {size} (--batch_size auto)")
    batches = Batches(
        split,
        size,
        augmentation=config.augmentation,
        sampling=config.sampling,
        seed=config.seed,
        class_weights=weighting,
        draw=dataset.draw,
        label_smoothing=config.label_smoothing,
        mixup_alpha=config.mixup,
        cutmix_alpha=config.cutmix,
        workers=config.workers,
        shares=shares,
    )
    validation = Batches(validation, size, workers=0, shares=shares)
    return Prepared(model, loaded, batches, validation, loss, metrics)


def compile_stage(
    config: TrainConfig,
    prepared: Prepared,
    stage: Stage,
    rate: keras.optimizers.schedules.LearningRateSchedule | None = None,
    network: keras.Model | None = None,
) -> Boundary:
    """Freeze and penalise as asked, and compile with a new optimiser.

    `rate` replaces the stage's learning rate. `network` is compiled instead of the prepared one,
    around whose backbone it is built.
    """
    from ferplus_keras.models.freeze import freeze_before, numbered_layers
    from ferplus_keras.training.devices import device_scope, use_xla
    from ferplus_keras.training.losses import penalise
    from ferplus_keras.training.optimizers import build_optimizer

    network = network or prepared.model
    boundary = freeze_before(network, stage.freeze_before)
    print(boundary.describe(), flush=True)
    if config.reg_func:
        penalise(network, config.reg_func, config.reg_rate, config.reg_layers, config.reg_bias)
    backbone = numbered_layers(prepared.model)[:-1]
    with device_scope(config.num_gpus):
        optimizer = build_optimizer(
            config.optimizer,
            rate or learning_rate(stage.plan, len(prepared.batches)),
            betas=(config.adam_b1, config.adam_b2),
            momentum=config.momentum,
            arguments=config.optimizer_args or (),
            weight_decay=config.weight_decay,
            clip_norm=config.clip_norm,
            ema=config.ema,
            slow=[variable.path for layer in backbone for variable in layer.trainable_variables],
            slow_factor=config.trunk_lr,
        )
        network.compile(optimizer, prepared.loss, metrics=prepared.metrics, jit_compile=use_xla())
        network.optimizer.build(network.trainable_variables)
    return boundary


def checkpoint_info(config: TrainConfig, dataset: Dataset) -> CheckpointInfo:
    """Return what the run's checkpoints say of themselves; the epoch is filled in later.

    The configuration is one `with_faces_of` its data.
    """
    from ferplus_keras.models.checkpoint import CheckpointInfo

    return CheckpointInfo(
        model_name=config.model_name,
        image_size=config.image_size,
        class_names=dataset.class_names,
        dataset_name=dataset.name,
        label_rule=dataset.label_rule,
        evaluation_rule=dataset.evaluation_rule,
        class_map=config.class_map,
        face_size=config.face_size,
        colour=config.colour,
    )
