"""One evaluation and the runs behind it, as the JSON that is kept."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path
from typing import Any

from ferplus_keras.arguments import PLACES, read_config
from ferplus_keras.compare.runs import REPORT
from ferplus_keras.config import TrainConfig, to_plain
from ferplus_keras.errors import InputError
from ferplus_keras.files import replacing
from ferplus_keras.sweep.plan import as_words
from ferplus_keras.training.run_folder import CONFIG, HISTORY, MAX_ACCURACY, RECORD

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

KEPT = ("commit", "hardware", "backend", "versions", "data", "weights")
"""Parts of run.json that are kept as they are."""


def write_result(
    evaluation: Path, results_dir: Path, name: str | None = None, recipe: Path | None = None
) -> Path:
    """Write `results_dir`/NAME.json, whole, from an evaluation and the run folders behind it.

    Args:
        evaluation: folder of report.json.
        results_dir: folder of results; made if need be.
        name: default: that of the run folder.
        recipe: as for `read_result`.

    Returns:
        The file.

    Raises:
        InputError: as `read_result`.
    """
    result = read_result(evaluation, name, recipe, results_dir)
    results_dir.mkdir(parents=True, exist_ok=True)
    path = results_dir / f"{result['name']}.json"
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def read_result(
    evaluation: Path,
    name: str | None = None,
    recipe: Path | None = None,
    results_dir: Path | None = None,
) -> dict[str, Any]:
    """Read an evaluation and the runs of its networks, and keep what a result needs.

    Args:
        evaluation: folder of report.json.
        name: of the result; default: that of the run.
        recipe: YAML of the runs; default: recipes/NAME.yaml by the name of the run.
        results_dir: where results of networks may be kept already, whose part is then taken over.

    Returns:
        {"name", "evaluation": {"command", "label_rule", "tta", …, "splits"}, "networks": [{"name",
        "recipe", "changed", "command", "commit", "hardware", "seed", "seconds", …}, …]}, JSON-ready
        and with accuracies as fractions.

    Raises:
        InputError: report.json, run.json or config.yaml is missing or of something else.
    """
    report = _json(evaluation / REPORT)
    try:
        of_networks = report.get("members") or [report]
        networks = [_network(found, recipe, results_dir) for found in of_networks]
        splits = {split: _scores(found) for split, found in report["splits"].items()}
        judged = {
            "command": _test_command(report, networks),
            **{key: report[key] for key in ("dataset_name", "label_rule", "tta", "average")},
            "temperature": report["temperature"],
            "seconds": round(report["seconds"]["total"], 1),
            "splits": splits,
        }
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{evaluation / REPORT} is no report of test.py: {error} is missing"
        ) from None
    if name is None:
        name = networks[0]["name"]
        if len(networks) > 1:
            raise InputError(f"{evaluation} is of {len(networks)} networks: say --name NAME")
    return {"name": name, "evaluation": judged, "networks": networks}


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
    return {
        key: config[key]
        for key, value in meant.items()
        if key not in PLACES | {"seed"} and key in config and config[key] != value
    }


def _moved(value: Any, beside: str) -> Any:
    """Return a setting with paths to other runs as if all runs were in checkpoints/."""
    if isinstance(value, list):
        return [_moved(part, beside) for part in value]
    moves = isinstance(value, str) and value.startswith(beside)
    return CHECKPOINTS + value.removeprefix(beside) if moves else value


def _network(
    found: dict[str, Any], recipe: Path | None, results_dir: Path | None
) -> dict[str, Any]:
    """Return what is kept of one network of a report."""
    import yaml

    checkpoint = Path(found["checkpoint"])
    folder = checkpoint.parent
    run = _json(folder / RECORD)
    if "seconds" not in run:
        raise InputError(f"{folder} is not trained to its end; go on with --resume")
    config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    name = config["name"]
    kept = results_dir and results_dir / f"{name}.json"
    if recipe is None and kept and kept.is_file():
        network = _json(kept)["networks"][0]
        if network["checkpoint_sha256"] == found["checkpoint_sha256"]:
            return network
    recipe = recipe or Path("recipes") / f"{name}.yaml"
    if not recipe.is_file():
        raise InputError(f"no recipe {recipe} for the run {name}: say --recipe FILE")
    changed = changed_settings(config, recipe)
    frozen = run["freeze_before"]
    return {
        "name": name,
        "recipe": recipe.stem,
        "changed": changed,
        "command": _train_command(config, recipe, changed),
        "model": config["model_name"],
        "image_size": config["image_size"],
        "label_rule": config["label_rule"],
        "parameters": frozen["trainable_params"] + frozen["frozen_params"],
        "trainable_parameters": frozen["trainable_params"],
        "train_rows": run["train_rows"],
        "seed": run["seed"],
        "epochs": run["epochs"],
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": found["checkpoint_sha256"],
        "epoch": found["epoch"],
        "seconds": round(run["seconds"], 1),
        "images_per_second": round(run["images_per_second"], 1),
        **{key: run[key] for key in KEPT},
        "history": _history(folder / HISTORY),
    }


def _history(path: Path) -> dict[str, list[float]]:
    """Return losses and validation accuracy by epoch."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        key: [round(float(row[key]), 4) for row in rows]
        for key in ("loss", "val_loss", "val_accuracy")
    }


def _scores(split: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of one split of a report."""
    brief = ("n", "accuracy", "accuracy_interval")
    kept = _rounded({key: split[key] for key in SCORES})
    kept["f1"] = {name: _round(found["f1"]) for name, found in split["per_class"].items()}
    kept["leak_free"] = _rounded({key: split["leak_free"][key] for key in brief})
    kept["label_rules"] = {
        rule: _rounded({key: found[key] for key in brief})
        for rule, found in split["label_rules"].items()
    }
    return kept


def _rounded(scores: dict[str, Any]) -> dict[str, Any]:
    return {key: _round(value) for key, value in scores.items()}


def _round(value: Any) -> Any:
    if isinstance(value, list):
        return [_round(part) for part in value]
    return round(value, 5) if isinstance(value, float) else value


def _train_command(config: dict[str, Any], recipe: Path, changed: dict[str, Any]) -> str:
    own = {"seed": config["seed"] or None, **changed}
    if config["name"] != recipe.stem:
        own["name"] = config["name"]
    words = ["python", "train.py", "--config", f"recipes/{recipe.name}", *as_words(own)]
    return shlex.join(words)


def _test_command(report: dict[str, Any], networks: list[dict[str, Any]]) -> str:
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
    return shlex.join(words)


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"no {path}; expected the folder of an evaluation by test.py") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
