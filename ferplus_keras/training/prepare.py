"""What a run needs before its first step: network, batches, loss, penalties and optimiser."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np

from ferplus_keras.data.batches import Batches
from ferplus_keras.data.class_weights import class_weights
from ferplus_keras.data.dataset import Dataset, Split, limit_split
from ferplus_keras.errors import UsageError
from ferplus_keras.hardware import announce
from ferplus_keras.models.calibration import calibrate
from ferplus_keras.models.checkpoint import CheckpointInfo
from ferplus_keras.models.freeze import Boundary, find_layer, freeze_before, numbered_layers
from ferplus_keras.models.published import find_weights
from ferplus_keras.models.registry import MODELS, build_model
from ferplus_keras.models.weights import LoadedWeights, layer_variables, load_weights
from ferplus_keras.training import devices
from ferplus_keras.training.distillation import distil
from ferplus_keras.training.losses import find_loss, find_metrics
from ferplus_keras.training.optimizers import build_optimizer
from ferplus_keras.training.schedules import Plan, learning_rate, plan_stages

if TYPE_CHECKING:
    from ferplus_keras.config import TrainConfig

CALIBRATION_FACES = 800
"""Training faces on which a network without statistics of its own is calibrated."""


class Prepared(NamedTuple):
    """What is trained, and on what."""

    model: keras.Model  # not compiled
    loaded: LoadedWeights | None  # None for random weights
    batches: Batches  # augmented and weighted
    validation: Batches  # plain
    loss: Any  # as `compile` takes it
    metrics: list  # likewise


def build_network(
    config: TrainConfig, split: Split, weights: str
) -> tuple[keras.Model, LoadedWeights | None]:
    """Return the configured network and the weights that it got; the others are random by the seed.

    Weights without statistics are calibrated on faces spread evenly over `split`, the training one.
    """
    images = split.images
    keras.utils.set_random_seed(config.seed)
    with devices.device_scope(config.num_gpus), devices.compute_dtype(config.mixed_precision):
        model = build_model(
            config.model_name,
            len(split.class_names),
            weights="none",
            image_size=config.image_size,
            dropout_rate=config.dropout_rate,
            activation=config.activation,
            face_size=images.shape[1],
            colour=images.ndim == 4,
        )
        spec = MODELS[config.model_name]
        path = find_weights(spec, weights)
        loaded = load_weights(model, path, spec, split.class_names) if path else None
    half = config.mixed_precision
    announce("training", "float32" if half == "none" else half, gpus=config.num_gpus)
    if shares := devices.find_devices(config.num_gpus):
        shares.take_over(model)
    elif note := devices.faster_backend(config.model_name):
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
    split, validation = dataset.splits["train"], dataset.splits["validation"]
    kinds = (split.kind, validation.kind)  # where either is of sets, it counts all right classes
    accuracy = next((kind for kind in kinds if not kind.mixable), split.kind).accuracy
    metrics = find_metrics(config.metrics, accuracy, len(split.class_names), config.activation)
    if config.limit_train:
        split = limit_split(split, config.limit_train, config.seed)
        print(f"training on {len(split.images)} of the training rows (--limit_train)")
    if config.limit_validation:
        validation = limit_split(validation, config.limit_validation, config.seed)
        print(f"validating on {len(validation.images)} rows (--limit_validation)")
    weighting = class_weights(config.class_weights, split, config.dataset_name, config.label_rule)
    loss = find_loss(
        config.loss or split.kind.loss,
        config.activation,
        shares=split.kind.mixable,
        weighted=weighting is not None,
    )
    if config.teacher:
        share = 0.5 if config.teacher_weight is None else config.teacher_weight
        split = distil(split, config.teacher, share)
    shares = devices.find_devices(config.num_gpus)
    if (size := config.batch_size) == "auto" and (shares or config.num_gpus > 1):
        raise UsageError("--batch_size auto needs one process on one device; give a number")
    model, loaded = build_network(config, split, weights)
    if size == "auto":
        boundaries = {stage.freeze_before for stage in plan_stages(config)}
        freeze_before(model, min(boundaries, key=lambda b: freeze_before(model, b).frozen_layers))
        size = devices.training_batch(model, loss, split.images, split.targets)
        print(f"batch size {size} (--batch_size auto)")
    batches = Batches(
        split,
        size,
        augmentation=config.augmentation,
        sampling=config.sampling,
        seed=config.seed,
        class_weights=weighting,
        draw=dataset.rule.draw,
        label_smoothing=config.label_smoothing,
        mixup_alpha=config.mixup,
        cutmix_alpha=config.cutmix,
        workers=config.workers,
        shares=shares,
    )
    validation = Batches(validation, size, sampling=None, workers=0, shares=shares)
    return Prepared(model, loaded, batches, validation, loss, metrics)


def compile_stage(
    config: TrainConfig,
    prepared: Prepared,
    stage: Plan,
    rate: keras.optimizers.schedules.LearningRateSchedule | None = None,
    network: keras.Model | None = None,
) -> Boundary:
    """Freeze and penalise layers as configured, and compile with a new optimiser.

    `rate` replaces the stage's, `network`, built around the prepared one's backbone, that one.
    """
    network = network or prepared.model
    boundary = freeze_before(network, stage.freeze_before)
    print(boundary.describe(), flush=True)
    if config.reg_func:
        names = config.reg_layers
        if names and config.stages:  # some are frozen in this stage only
            names = [name for name in names if find_layer(network, name).trainable]
        penalise(network, config.reg_func, config.reg_rate, names, config.reg_bias)
    backbone = numbered_layers(prepared.model)[:-1]
    with devices.device_scope(config.num_gpus):
        optimizer = build_optimizer(
            config.optimizer,
            rate or learning_rate(stage, len(prepared.batches)),
            betas=(config.adam_b1, config.adam_b2),
            momentum=config.momentum,
            arguments=config.optimizer_args or (),
            weight_decay=config.weight_decay,
            clip_norm=config.clip_norm,
            ema=config.ema,
            slow=[variable.path for layer in backbone for variable in layer.trainable_variables],
            slow_factor=config.trunk_lr,
        )
        # Built by the optimiser that float16 puts around it, Nadam would lose a variable.
        optimizer.build(network.trainable_variables)
        xla = devices.use_xla()
        for metric in prepared.metrics:  # what the last stage's validation left in it
            if isinstance(metric, keras.Metric):
                metric.reset_state()
        network.compile(optimizer, prepared.loss, metrics=prepared.metrics, jit_compile=xla)
        network.optimizer.build(network.trainable_variables)
    if config.num_gpus > 1 and keras.backend.backend() == "tensorflow":
        # Keras' own adds up the shares of the first batch, which fails where they are uneven.
        def build(**_: Any) -> None:
            with devices.device_scope(config.num_gpus):
                network._symbolic_build(data_batch=prepared.batches[0])

        network._maybe_symbolic_build = build
    return boundary


def penalise(
    model: keras.Model,
    penalty: str,
    rate: float,
    layer_names: Sequence[str] | None = None,
    bias: bool = False,
) -> list[str]:
    """Add an l1 or l2 penalty to the trainable weights of layers; return these layers' names.

    Kernels, and the gamma and beta of normalisation, are penalised as in the older project. The
    penalty is set on the variables, where it counts, and on the layer, where it is saved.

    Args:
        model: a built network, layers already frozen.
        penalty: "l1" or "l2".
        rate: factor of the penalty.
        layer_names: layers to penalise; None means every trainable layer that has such weights.
        bias: penalise biases too.

    Raises:
        UsageError: an unknown layer, or one that is frozen or has nothing to penalise.
    """
    regularizer = {"l1": keras.regularizers.L1, "l2": keras.regularizers.L2}[penalty](rate)
    kinds = ("kernel", "gamma", "beta", "bias")[: 4 if bias else 3]
    layers = model.layers if layer_names is None else [find_layer(model, n) for n in layer_names]
    penalised = []
    for layer in layers:
        # Attention is a layer of layers: query/kernel, key/kernel …, one setting for all.
        weights = [(name.rpartition("/")[2], w) for name, w in layer_variables(layer).items()]
        chosen = [(kind, weight) for kind, weight in weights if kind in kinds and weight.trainable]
        for kind, weight in chosen:
            weight.regularizer, inside = regularizer, f"_{kind}_regularizer"
            setattr(layer, inside if hasattr(layer, inside) else inside[1:], regularizer)
        if chosen:
            penalised.append(layer.name)
        elif layer_names is not None:
            why = "it has no such weights" if layer.trainable else "it is frozen"
            raise UsageError(f"--reg_layers: cannot penalise '{layer.name}', {why}")
    return penalised


def checkpoint_info(config: TrainConfig, dataset: Dataset) -> CheckpointInfo:
    """Return what the run's checkpoints say of themselves; the epoch is filled in later.

    The configuration is the one that `read_dataset` returned.
    """
    return CheckpointInfo(
        model_name=config.model_name,
        image_size=config.image_size,
        class_names=dataset.source.class_names,
        dataset_name=dataset.source.label_set.name,
        label_rule=dataset.rule.name,
        evaluation_rule=dataset.evaluation_rule.name,
        class_map=config.class_map,
        face_size=config.face_size,
        colour=config.colour,
        group=config.group,
    )
