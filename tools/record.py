"""One evaluation and the runs behind it, as the JSON that is kept."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ferplus_keras.arguments import as_words, to_plain
from ferplus_keras.config import TrainConfig, read_config
from ferplus_keras.errors import InputError, one_line
from ferplus_keras.files import replacing, sha256
from ferplus_keras.inputs import read_mapping
from ferplus_keras.run import CONFIG, MAX_ACCURACY, PLACES, RECORD, REPORT, Run

CHECKPOINTS = "checkpoints/"
"""How recipes, plans and kept commands name the folder of all runs."""

SCORES = (
    "n",
    "accuracy",
    "accuracy_interval",
    "macro_f1",
    "macro_f1_interval",
    "balanced_accuracy",
    "top2_accuracy",
    "cohens_kappa",
    "macro_auroc",
    "loss",
    "calibration_error",
)
"""Scores of a split that are kept."""

KEPT = ("commit", "hardware", "backend", "versions", "data")
"""Parts of run.json that are kept as they are."""


def write_result(
    evaluation: Path, results_dir: Path, name: str | None = None, recipe: Path | None = None
) -> Path:
    """Write `results_dir`/NAME.json, whole, from an evaluation and the run folders behind it.

    It holds {"name", "evaluation": {"command", "label_rule", "tta", …, "splits"}, "networks":
    [{"name", "recipe", "changed", "command", "commit", "hardware", "seed", "seconds", …}, …]},
    accuracies as fractions.

    Args:
        evaluation: folder of report.json.
        results_dir: folder of results; made if need be. What it keeps of a network already is taken
            over.
        name: default: that of the run folder.
        recipe: YAML of the runs; default: recipes/NAME.yaml by the name of the run.

    Returns:
        The file.

    Raises:
        InputError: report.json, run.json, config.yaml or the checkpoint is missing or belongs to
            something else.
    """
    if not (evaluation / REPORT).is_file():
        raise InputError(f"no {evaluation / REPORT}; expected the folder of an evaluation")
    with edits_refused(f"{REPORT}, {RECORD} or {CONFIG} of {evaluation} or its networks"):
        result = _result(evaluation, results_dir, name, recipe)
    results_dir.mkdir(parents=True, exist_ok=True)
    path = results_dir / f"{result['name']}.json"
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


@contextmanager
def edits_refused(what: str) -> Iterator[None]:
    """Say in one line, as an InputError, that JSON lacks something or holds something else."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        found = f"{type(error).__name__}: {one_line(error)}"
        raise InputError(f"{what} was edited: {found}") from None


def _result(
    evaluation: Path, results_dir: Path, name: str | None, recipe: Path | None
) -> dict[str, Any]:
    """Return what `write_result` writes."""
    report = Run(evaluation).report()
    members = report.get("members") or [report]
    networks = [_network(found, recipe, results_dir, evaluation) for found in members]
    kept = {key: report[key] for key in ("dataset_name", "label_rule", "tta", "average")}
    kept |= {
        "temperature": report["temperature"],
        "seconds": round(report["seconds"]["total"], 1),
        "splits": {split: _scores(found) for split, found in report["splits"].items()},
    }
    if name is None and len(networks) > 1:
        raise InputError(f"{evaluation} is of {len(networks)} networks: use --name NAME")
    name = name or networks[0]["name"]
    command = {"command": _test_command(report, networks, name)}
    return {"name": name, "evaluation": command | kept, "networks": networks}


def changed_settings(config: dict[str, Any], recipe: Path) -> dict[str, Any]:
    """Return the settings of a run that are not its recipe's, but for places and seed.

    Other runs beside it, which it may start from, count as those in checkpoints/.

    Args:
        config: what config.yaml of the run holds.
        recipe: YAML file.
    """
    from ferplus_keras.training.train import resolve

    beside = config["checkpoints_dir"].rstrip("/") + "/"
    config = {key: _moved(value, beside) for key, value in config.items()}
    meant = to_plain(resolve(read_config(TrainConfig, ["--config", str(recipe)], "results")))
    changed = {
        key: config[key]
        for key, value in meant.items()
        if key not in PLACES | {"seed"} and key in config and config[key] != value
        # A recipe that does not say how faces look takes the data's.
        if value is not None or key not in ("face_size", "colour")
    }
    if "teacher" in changed and not changed["teacher"]:
        changed.pop("teacher_weight", None)
        changed["teacher"] = ["none"]
    return changed


def _moved(value: Any, beside: str) -> Any:
    """Return a setting with paths to other runs as if all runs were in checkpoints/."""
    if isinstance(value, list):
        return [_moved(part, beside) for part in value]
    moves = isinstance(value, str) and value.startswith(beside)
    return CHECKPOINTS + value.removeprefix(beside) if moves else value


def _weights(loaded: dict[str, str] | None) -> dict[str, str] | None:
    """Return which file the weights came from, wherever it was on that machine."""
    return loaded and {"file": Path(loaded["path"]).name, "sha256": loaded["sha256"]}


def _network(
    found: dict[str, Any], recipe: Path | None, results_dir: Path, evaluation: Path
) -> dict[str, Any]:
    """Return what is kept of one network of a report."""
    checkpoint = Path(found["checkpoint"])
    beside = evaluation.absolute().parent / checkpoint.parent.name  # where runs were copied to
    run = Run(beside if (beside / RECORD).is_file() else checkpoint.parent)
    record = run.record()
    if "best" not in record:
        raise InputError(f"{run.folder} is not trained to its end; continue it with --resume")
    file = run / checkpoint.name
    same = found["epoch"] == record["best"]["epoch"]  # a large file may stay where it was trained
    if sha256(file) != found["checkpoint_sha256"] if file.is_file() else not same:
        raise InputError(f"{file} is not what was evaluated; run test.py again")
    config = run.settings()
    for kept in [] if recipe else results_dir.rglob(f"{config['name']}.json"):
        network = read_mapping(kept)["networks"][0]
        if network["checkpoint_sha256"] == found["checkpoint_sha256"]:
            return network
    recipe = recipe or Path("recipes") / f"{config['name']}.yaml"
    if not recipe.is_file():
        raise InputError(f"no recipe {recipe} for the run {config['name']}: use --recipe FILE")
    changed = changed_settings(config, recipe)
    history = run.history()
    frozen = record["freeze_before"]
    return {
        "name": config["name"],
        "recipe": recipe.stem,
        "changed": changed,
        "command": _train_command(config, recipe, changed),
        "model": config["model_name"],
        "image_size": config["image_size"],
        "label_rule": config["label_rule"],
        "parameters": frozen["trainable_params"] + frozen["frozen_params"],
        "trainable_parameters": frozen["trainable_params"],
        "train_rows": record["train_rows"],
        "seed": record["seed"],
        "epochs": record["epochs"],
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": found["checkpoint_sha256"],
        "epoch": found["epoch"],
        "seconds": round(record["seconds"], 1),
        "images_per_second": round(record["images_per_second"], 1),
        **{key: record[key] for key in KEPT},
        "weights": _weights(record["weights"]),
        "history": {
            key: [round(epoch[key], 4) for epoch in history]
            for key in ("loss", "val_loss", "val_accuracy")
        },
    }


def _scores(split: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of one split of a report, rounded."""
    brief = ("n", "accuracy", "accuracy_interval")
    kept = {key: split[key] for key in SCORES}
    kept["f1"] = {name: found["f1"] for name, found in split["per_class"].items()}
    kept["leak_free"] = {key: split["leak_free"][key] for key in brief}
    kept["label_rules"] = {
        rule: {key: found[key] for key in brief} for rule, found in split["label_rules"].items()
    }
    return json.loads(json.dumps(kept), parse_float=lambda text: round(float(text), 5))


def _train_command(config: dict[str, Any], recipe: Path, changed: dict[str, Any]) -> str:
    own = {"seed": config["seed"] or None, **changed}
    if config["name"] != recipe.stem:
        own["name"] = config["name"]
    words = ["python", "train.py", "--config", f"recipes/{recipe.name}", *as_words(own)]
    return shlex.join(words)


def _test_command(report: dict[str, Any], networks: list[dict[str, Any]], name: str) -> str:
    words = ["python", "test.py", "--checkpoint_path"]
    for network in networks:
        folder = f"{CHECKPOINTS}{network['name']}"
        whole = network["checkpoint"] == MAX_ACCURACY
        words.append(folder if whole else f"{folder}/{network['checkpoint']}")
    if report["tta"] != "none":
        words += ["--tta", report["tta"]]
    if report["average"] != "probabilities":
        words += ["--average", report["average"]]
    if list(report["splits"]) != ["validation", "test"]:
        words += ["--splits", *report["splits"]]
    if len(networks) > 1:  # else they would replace the report of the first
        words += ["--output_dir", f"{CHECKPOINTS}{name}"]
    return shlex.join(words)
