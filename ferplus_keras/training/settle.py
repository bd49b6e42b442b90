"""What is settled before Keras is loaded: a run's defaults, targets, starting weights and data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from ferplus_keras.data.dataset import DATASETS, Dataset, load_dataset
from ferplus_keras.errors import UsageError
from ferplus_keras.formats import find_format
from ferplus_keras.models.published import find_weights
from ferplus_keras.models.registry import MODELS
from ferplus_keras.run import READING, Run, find_checkpoint

if TYPE_CHECKING:
    from ferplus_keras.config import TrainConfig


def resolve(config: TrainConfig) -> TrainConfig:
    """Return the configuration with the defaults filled in that depend on other settings.

    Raises:
        UsageError: the images are too small for the network, or layers are named for no penalty.
    """
    spec = MODELS[config.model_name]
    own = {
        "weights": spec.default_weights if config.checkpoint_path is None else None,
        "image_size": spec.image_size,
        "dropout_rate": spec.dropout_rate,
        "colour": False if spec.channel_order == "grey" else None,
        # Classes that are drawn equally often must not be weighted as if they were not.
        "class_weights": ("none",) if config.sampling == "balanced" else None,
    }
    config = dataclasses.replace(
        config, **{key: value for key, value in own.items() if getattr(config, key) is None}
    )
    spec.require_size(config.image_size)
    if config.reg_layers and not config.reg_func:
        raise UsageError("--reg_layers needs a penalty: give --reg_func l1 or l2")
    return config


def check_targets(config: TrainConfig) -> None:
    """Refuse settings that the targets of the label rule do not allow, and unusable teachers.

    Raises:
        UsageError: a setting needs targets that can be blended, there is a weight without a
            teacher, or the run would overwrite a teacher.
        InputError: there is no such teacher, or it is not a checkpoint.
    """
    kind = DATASETS[config.dataset_name].rule(config.label_rule).kind
    changing = ("label_smoothing", "teacher", "mixup", "cutmix")
    asked = [name for name in changing if getattr(config, name)]
    if asked and not kind.mixable:
        raise UsageError(
            f"--{asked[0]} needs targets that are distributions; those of --label_rule "
            f"{config.label_rule} are each a {kind.name}: sets of right classes cannot be blended"
        )
    if not config.teacher and config.teacher_weight is not None:
        raise UsageError(f"--teacher_weight {config.teacher_weight} needs --teacher PATH")
    for file in map(find_checkpoint, config.teacher or ()):
        find_format(file).peek(file)  # a damaged checkpoint is refused at once
        if config.overwrite:
            Run(config.run_dir).require_kept(file, "teacher")


def starting_weights(config: TrainConfig) -> str:
    """Return what the network starts from: a name of published weights, "none" or a file's path.

    Raises:
        UsageError: two settings say where to start, an unknown or another network's name, or the
            run would overwrite the file.
        InputError: there is no such file.
    """
    if "" in (config.checkpoint_path, config.weights):  # an unset variable of a shell
        raise UsageError("--checkpoint_path, --weights: expected a name or a path, got ''")
    if config.checkpoint_path and config.weights:
        raise UsageError(
            f"--checkpoint_path {config.checkpoint_path} and --weights {config.weights} both say "
            "where to start: give one"
        )
    weights = config.checkpoint_path or config.weights
    spec = MODELS[config.model_name]
    if weights in (*spec.weights, "none"):  # fetched only once Keras is loaded
        return weights
    networks = " or ".join(name for name, other in MODELS.items() if weights in other.weights)
    if networks and not Path(weights).exists():
        raise UsageError(f"--weights {weights} belongs to --model_name {networks}")
    file = find_weights(spec, weights)
    if config.overwrite:
        Run(config.run_dir).require_kept(file, "weights")
    return str(file)


def read_dataset(config: TrainConfig) -> tuple[Dataset, TrainConfig]:
    """Return the data of a run, and its configuration with the face size and colour found there."""
    reading = {name: getattr(config, name) for name in (*READING, "face_size", "colour")}
    dataset = load_dataset(
        config.data_dir,
        config.dataset_name,
        config.label_rule,
        config.cache_dir,
        config.evaluation_rule,
        class_map=config.class_map,
        drop_leaks=config.drop_leaks,
        exclude=config.exclude,
        largest=config.image_size,
        **reading,
    )
    _, size, _, *channels = dataset.splits["train"].images.shape
    return dataset, dataclasses.replace(config, face_size=size, colour=bool(channels))
