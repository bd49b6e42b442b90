"""Fine-tune a network: two CSV files and a configuration in, a run folder out.

Everything that can be refused is refused here, before Keras is loaded; `fit.py` does the work.
"""

import dataclasses
from pathlib import Path

from ferplus_keras.backend import load_keras
from ferplus_keras.config import TrainConfig
from ferplus_keras.data.dataset import Dataset, format_label_counts, load_dataset
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.models.registry import model_spec
from ferplus_keras.training.distillation import check_teachers
from ferplus_keras.training.loggers import check_loggers
from ferplus_keras.training.run_folder import check_run_folder
from ferplus_keras.training.schedules import check_policy
from ferplus_keras.training.stages import stage_configs


def train(config: TrainConfig) -> Path:
    """Train as `config` says.

    Args:
        config: settings of the run.

    Returns:
        The run folder: config.yaml, run.json, training.csv, curves.png, the three checkpoints,
        resume_state.npz and TensorBoard events under logs/.

    Raises:
        InputError: data, weights or run folder cannot be used; nothing of an earlier run is lost.
        KeyboardInterrupt: Ctrl-C; the state of the last finished epoch is on disk.

    Example:
        >>> train(TrainConfig(model_name="ResNet50", freeze_before=-51))  # doctest: +SKIP
    """
    config = resolve(config)
    for stage in stage_configs(config):
        check_policy(stage)
    check_loggers(config.loggers)
    check_targets(config)
    check_teachers(config)
    check_run_folder(config)
    weights = starting_weights(config)
    dataset = read_dataset(config)
    print(format_label_counts(dataset.counts), flush=True)

    load_keras()
    from ferplus_keras.training.fit import fit

    return fit(config, dataset, weights)


def resolve(config: TrainConfig) -> TrainConfig:
    """Return the configuration with the defaults filled in that hang on other settings."""
    spec = model_spec(config.model_name)
    own = {
        "weights": spec.default_weights if config.checkpoint_path is None else None,
        "image_size": spec.image_size,
        "dropout_rate": spec.dropout_rate,
        # Classes that are drawn equally often must not be weighed as if they were not.
        "class_weights": ("none",) if config.sampling == "balanced" else None,
    }
    return dataclasses.replace(
        config, **{key: value for key, value in own.items() if getattr(config, key) is None}
    )


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
    )


def check_targets(config: TrainConfig) -> None:
    """Refuse what cannot be done to targets that are sets of right classes.

    Raises:
        UsageError: says which setting needs distributions.
    """
    changing = ("label_smoothing", "teacher", "mixup", "cutmix")
    asked = [name for name in changing if getattr(config, name)]
    if config.label_rule == "ms_multi_target" and asked:
        raise UsageError(
            f"--{asked[0]} needs targets that are distributions; those of --label_rule "
            "ms_multi_target are sets of right classes"
        )


def starting_weights(config: TrainConfig) -> str:
    """Return what the network starts from, checked as far as is quick."""
    if config.checkpoint_path and config.weights:
        raise UsageError(
            f"--checkpoint_path {config.checkpoint_path} and --weights {config.weights} both say "
            "where to start: give one"
        )
    weights = config.checkpoint_path or config.weights
    known = [*model_spec(config.model_name).weights, "none"]
    if weights not in known and not Path(weights).is_file():
        expected = " or ".join(f"'{name}'" for name in known)
        raise InputError(f"no weights at {weights}: expected {expected} or a file")
    return weights
