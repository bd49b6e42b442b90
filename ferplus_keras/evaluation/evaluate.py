"""Judge a checkpoint or an ensemble: every row of a split once, from the files alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ferplus_keras.backend import load_keras
from ferplus_keras.config import EvaluateConfig, default_data_dir
from ferplus_keras.data.dataset import Split
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.evaluation.agreement import agreement
from ferplus_keras.evaluation.calibration import (
    at_temperature,
    calibration_error,
    fit_temperature,
    reliability,
)
from ferplus_keras.evaluation.members import (
    OF_OLDER_PROJECT,
    Member,
    class_order,
    find_checkpoint,
    load_member,
    mean_answer,
    predict,
)
from ferplus_keras.evaluation.metrics import CLIP, score, summary
from ferplus_keras.evaluation.protocol import (
    Protocol,
    Rows,
    find_protocol,
    labels_of,
    read_rows,
)
from ferplus_keras.evaluation.report import (
    draw_confusion,
    format_report,
    write_predictions,
    write_report,
)
from ferplus_keras.evaluation.report_page import write_page
from ferplus_keras.files import require_writable
from ferplus_keras.models.checkpoint import CheckpointInfo, read_info
from ferplus_keras.provenance import versions
from ferplus_keras.training.run_folder import CONFIG


class Judged(NamedTuple):
    """One split with the answers it got.

    Attributes:
        rows: what was asked.
        probabilities: (n, C) float32, of the ensemble where there are several members.
        of_members: one such array a member.
        of_others: other label rule -> (m, C) probabilities of its rows.
        seconds: time the networks took.
    """

    rows: Rows
    probabilities: np.ndarray
    of_members: list[np.ndarray]
    of_others: dict[str, np.ndarray]
    seconds: float


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Evaluate one or several checkpoints as `config` says and write what came out.

    Writes report.json, report.html, predictions.csv and confusion_matrix.png beside the (first)
    checkpoint or into `output_dir`, and prints the scores as tables.

    Args:
        config: settings of the evaluation.

    Returns:
        The report: {"splits": {"validation": {…}, "test": {…}}, "model": …, "label_rule": …, …},
        with fractions, not percentages.

    Raises:
        InputError: a checkpoint or the data cannot be used, or do not belong together.
    """
    started = time.perf_counter()
    paths = _checkpoints(config)
    folder = Path(config.output_dir) if config.output_dir else paths[0].parent
    require_writable(folder, "--output_dir")
    data_dir = config.data_dir or data_dir_of_run(paths[0].parent)
    infos = [None if path.suffix in OF_OLDER_PROJECT else read_info(path) for path in paths]
    protocol = find_protocol(config, infos[0])
    rows = {name: read_rows(name, data_dir, protocol, config.cache_dir) for name in config.splits}
    class_names = rows[config.splits[0]].split.class_names
    for path, info in zip(paths, infos, strict=True):
        if info:
            _check_belongs(info, config.model_name, class_names, path)

    load_keras()
    members = [
        load_member(path, class_names, config.model_name, config.image_size) for path in paths
    ]
    judged = {name: _judge(rows[name], members, config, name) for name in config.splits}
    report = _report(config, protocol, members, judged)
    report["seconds"]["total"] = time.perf_counter() - started
    write_predictions(judged, folder / "predictions.csv")
    draw_confusion(report, folder / "confusion_matrix.png")
    write_page(report, judged, folder / "report.html")
    write_report(report, folder / "report.json")
    print(format_report(report))
    took, network = time.perf_counter() - started, report["seconds"]["network"]
    print(
        f"\nreport.html, report.json, predictions.csv, confusion_matrix.png are in {folder}\n"
        f"{took:.0f} s, {1 - network / took:.0%} of them outside the network"
    )
    return report


def _checkpoints(config: EvaluateConfig) -> list[Path]:
    """Return the files to evaluate.

    Raises:
        UsageError: neither a checkpoint nor a run was named.
        InputError: there is no such file.
    """
    if config.checkpoint_path:
        return [find_checkpoint(Path(path)) for path in config.checkpoint_path]
    if config.name:
        return [find_checkpoint(Path(config.checkpoints_dir) / config.name)]
    raise UsageError("expected --checkpoint_path FILE_OR_FOLDER … or --name RUN")


def data_dir_of_run(folder: Path) -> str:
    """Return the data folder that a checkpoint's run was trained on, else the usual one."""
    import yaml

    try:
        return yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))["data_dir"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return default_data_dir()


def _check_belongs(
    info: CheckpointInfo, model_name: str | None, class_names: Sequence[str], path: Path
) -> None:
    """Refuse a checkpoint of another network or other classes before it is loaded."""
    if model_name and model_name != info.model_name:
        raise InputError(f"the checkpoint is a {info.model_name}, not a {model_name}")
    class_order(info, class_names, path)


def _judge(rows: Rows, members: list[Member], config: EvaluateConfig, name: str) -> Judged:
    """Ask every network about every row once, whichever rules it belongs to."""
    every = np.unique(np.concatenate([s.row_ids for s in (rows.split, *rows.others.values())]))
    images = np.empty((len(every), *rows.split.images.shape[1:]), np.uint8)
    for split in (rows.split, *rows.others.values()):
        images[np.searchsorted(every, split.row_ids)] = split.images
    answers, seconds = [], 0.0
    for number, member in enumerate(members, start=1):
        label = name if len(members) == 1 else f"{name} {number}/{len(members)}"
        answer, taken = predict(
            member,
            images,
            batch_size=config.batch_size,
            tta=config.tta,
            average=config.average,
            name=label,
        )
        answers.append(answer)
        seconds += taken
    together = mean_answer(answers, config.average)

    def of(split: Split, answer: np.ndarray) -> np.ndarray:
        return answer[np.searchsorted(every, split.row_ids)]

    return Judged(
        rows,
        of(rows.split, together),
        [of(rows.split, answer) for answer in answers],
        {rule: of(split, together) for rule, split in rows.others.items()},
        seconds,
    )


def _report(
    config: EvaluateConfig, protocol: Protocol, members: list[Member], judged: dict[str, Judged]
) -> dict[str, Any]:
    from keras.backend import backend

    first = members[0].describe()
    temperature = None
    if "validation" in judged:
        of_validation = judged["validation"]
        temperature = fit_temperature(
            labels_of(of_validation.rows.split), of_validation.probabilities
        )
    report = {
        "splits": {name: _scores(of_split, temperature) for name, of_split in judged.items()},
        "model": " + ".join(member.info.model_name for member in members),
        "image_size": first["image_size"],
        "dataset_name": protocol.dataset_name,
        "label_rule": protocol.label_rule,
        "class_map": protocol.class_map and list(protocol.class_map),
        "class_names": list(judged[config.splits[0]].rows.split.class_names),
        "trained_with": first["trained_with"],
        "checkpoint": first["checkpoint"],
        "checkpoint_sha256": first["checkpoint_sha256"],
        "epoch": first["epoch"],
        "tta": config.tta,
        "average": config.average,
        "temperature": temperature,
        "backend": backend(),
        "versions": versions(),
        "seconds": {"network": sum(of_split.seconds for of_split in judged.values())},
    }
    if len(members) > 1:
        report["members"] = [
            member.describe() | {"splits": {n: _of_member(j, i) for n, j in judged.items()}}
            for i, member in enumerate(members)
        ]
    return report


def _scores(judged: Judged, temperature: float | None) -> dict[str, Any]:
    """Return everything the report says of one split."""
    split, probabilities = judged.rows.split, judged.probabilities
    names, labels = split.class_names, labels_of(split)
    predicted = probabilities.argmax(axis=1)
    scores = score(labels, probabilities, names)
    scores["leak_free"] = summary(labels[~split.leaked], predicted[~split.leaked], names)
    scores["label_rules"] = {
        rule: summary(labels_of(rows), judged.of_others[rule].argmax(axis=1), names)
        for rule, rows in judged.rows.others.items()
    }
    scores["calibration"] = {"reliability": reliability(labels, probabilities)}
    if temperature is not None:
        scaled = at_temperature(probabilities, temperature)
        of_truth = scaled[np.arange(len(labels)), labels]
        scores["calibration"]["at_temperature"] = {
            "loss": float(-np.log(np.clip(of_truth, CLIP, 1)).mean()),
            "calibration_error": calibration_error(labels, scaled),
        }
    if judged.rows.votes is not None:
        scores["annotators"] = agreement(judged.rows.votes, probabilities)
    return scores


def _of_member(judged: Judged, index: int) -> dict[str, Any]:
    split = judged.rows.split
    return summary(labels_of(split), judged.of_members[index].argmax(axis=1), split.class_names)
