"""Judge a checkpoint: every row of a split once, from the checkpoint's own folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ferplus_keras.backend import load_keras
from ferplus_keras.config import EvaluateConfig, default_data_dir
from ferplus_keras.data.dataset import DATASETS, Split, load_split
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.evaluation.metrics import score
from ferplus_keras.evaluation.report import (
    draw_confusion,
    format_report,
    write_predictions,
    write_report,
)
from ferplus_keras.files import require_writable
from ferplus_keras.models.checkpoint import CheckpointInfo, load_checkpoint, read_info
from ferplus_keras.progress import progress_bar
from ferplus_keras.training.run_folder import CONFIG, MAX_ACCURACY, versions

if TYPE_CHECKING:
    import keras


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Evaluate a checkpoint as `config` says and write what came out.

    Writes report.json, predictions.csv and confusion_matrix.png beside the checkpoint or into
    `output_dir`, and prints the scores as tables.

    Args:
        config: settings of the evaluation.

    Returns:
        The report: {"splits": {"validation": {…}, "test": {…}}, "model": …, "label_rule": …, …},
        with fractions, not percentages.

    Raises:
        InputError: the checkpoint or the data cannot be used, or do not belong together.
    """
    path = find_checkpoint(config)
    data_dir = config.data_dir or _data_dir_of_run(path.parent)
    folder = Path(config.output_dir) if config.output_dir else path.parent
    require_writable(folder, "--output_dir")
    of_older_project = path.suffix in (".h5", ".hdf5")
    info = None if of_older_project else read_info(path)
    dataset_name = config.dataset_name or (info.dataset_name if info else "FERPlus")
    class_names = DATASETS[dataset_name].class_names
    if info:
        _check_belongs(info, config, class_names)
    wanted_rule = config.label_rule or (info.evaluation_rule if info else "majority")
    label_rule = DATASETS[dataset_name].rule(wanted_rule).name
    splits = {
        name: load_split(data_dir, name, dataset_name, label_rule, config.cache_dir)
        for name in config.splits
    }
    load_keras()
    if info:
        model, info = load_checkpoint(path)
    else:
        model, info = _load_older(path, config, class_names)

    found = {name: predict(model, split, config.batch_size, name) for name, split in splits.items()}
    from keras.backend import backend

    report = {
        "splits": {
            name: score(split.targets.argmax(axis=1), found[name], class_names)
            for name, split in splits.items()
        },
        "model": info.model_name,
        "image_size": info.image_size,
        "dataset_name": dataset_name,
        "label_rule": label_rule,
        "trained_with": {"dataset_name": info.dataset_name, "label_rule": info.label_rule},
        "class_names": list(class_names),
        "checkpoint": str(path),
        "checkpoint_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "epoch": info.epoch,
        "backend": backend(),
        "versions": versions(),
    }
    write_predictions(splits, found, folder / "predictions.csv")
    draw_confusion(report, folder / "confusion_matrix.png")
    write_report(report, folder / "report.json")
    print(format_report(report))
    print(f"\nreport.json, predictions.csv and confusion_matrix.png are in {folder}")
    return report


def find_checkpoint(config: EvaluateConfig) -> Path:
    """Return the file to evaluate: `checkpoint_path`, its best model if a folder, or the run's.

    Raises:
        UsageError: neither a checkpoint nor a run was named.
        InputError: there is no such file.
    """
    if config.checkpoint_path:
        path = Path(config.checkpoint_path)
    elif config.name:
        path = Path(config.checkpoints_dir) / config.name
    else:
        raise UsageError("expected --checkpoint_path FILE_OR_FOLDER or --name RUN")
    if path.is_dir():
        path = path / MAX_ACCURACY
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}")
    return path


def _data_dir_of_run(folder: Path) -> str:
    """Return the data folder that a checkpoint's run was trained on, else the usual one."""
    import yaml

    try:
        return yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))["data_dir"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return default_data_dir()


def predict(model: keras.Model, split: Split, batch_size: int, name: str = "") -> np.ndarray:
    """Return (n, C) float32 probabilities of a split's faces, in its order.

    Raises:
        InputError: a probability is not a number.
    """
    from ferplus_keras.data.batches import Batches

    batches = Batches(split, batch_size)
    found = []
    with progress_bar(total=batches.rows, desc=name, unit=" images") as bar:
        for index in range(len(batches)):
            images = batches[index][0]
            found.append(model.predict_on_batch(images))
            bar.update(len(images))
    probabilities = np.concatenate(found).astype(np.float32)
    broken = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
    if broken.size:
        raise InputError(
            f"the network returns no number for {broken.size} of {len(probabilities)} faces "
            f"of {name} (first: row {split.row_ids[broken[0]]}); its weights are broken"
        )
    return probabilities


def _check_belongs(
    info: CheckpointInfo, config: EvaluateConfig, class_names: tuple[str, ...]
) -> None:
    """Refuse data whose classes are not the checkpoint's, in its order."""
    if config.model_name and config.model_name != info.model_name:
        raise InputError(f"the checkpoint is a {info.model_name}, not a {config.model_name}")
    if info.class_names != class_names:
        raise InputError(
            f"the checkpoint has {len(info.class_names)} classes ({', '.join(info.class_names)}), "
            f"the data {len(class_names)} ({', '.join(class_names)}); "
            f"it was trained on --dataset_name {info.dataset_name}"
        )


def _load_older(
    path: Path, config: EvaluateConfig, class_names: tuple[str, ...]
) -> tuple[keras.Model, CheckpointInfo]:
    """Rebuild a network from an .hdf5 file of the older project, whose rule was `majority`."""
    from ferplus_keras.models.legacy import load_full_model

    model, name = load_full_model(path, config.model_name, config.image_size)
    classes = model.output_shape[-1]
    if classes != len(class_names):
        raise InputError(
            f"{path} has {classes} classes, the data {len(class_names)} "
            f"({', '.join(class_names)}); choose another --dataset_name"
        )
    size = model.get_layer("preprocessing").image_size
    return model, CheckpointInfo(name, size, class_names, "unknown", "unknown", "majority")
