"""Runs side by side: their scores, what differs in their protocols, and pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ferplus_keras.compare.runs import Run
from ferplus_keras.compare.significance import difference_interval, holm, mcnemar
from ferplus_keras.errors import InputError

SCORES = (
    "accuracy",
    "accuracy_interval",
    "macro_f1",
    "balanced_accuracy",
    "loss",
    "calibration_error",
)
"""Scores of a run's report that are set side by side."""

PROTOCOL = {
    "dataset_name": "data set",
    "label_rule": "label rule",
    "class_map": "class map",
    "tta": "test-time augmentation",
}
"""Key in a report -> what it is called; runs that differ here do not mean the same by a number."""


def compare_runs(runs: Sequence[Run], split: str) -> dict[str, Any]:
    """Compare every run with the first.

    Args:
        runs: two or more with the same classes.
        split: name of the split they were read for.

    Returns:
        JSON-ready: split, class_names, runs (name, folder, model, n, `SCORES`, per_class_f1 and
        the protocol), protocol_differences (name -> a value a run, where they differ) and pairs,
        one for every run but the first: rows that both have (n) with the same label, rows that
        both have with another label (relabelled, left out), rows of one alone, and on these n
        rows both accuracies, their difference (second minus first) with its interval, the rows
        that one alone gets right, and p of McNemar's exact test as it is and after Holm.

    Raises:
        InputError: a run has no rows in common with the first.
    """
    pairs = [_pair(runs[0], run) for run in runs[1:]]
    for pair, corrected in zip(pairs, holm([pair["p"] for pair in pairs]), strict=True):
        pair["p_holm"] = corrected
    names = {"n": "rows", **PROTOCOL}
    described = [_describe(run, runs[0].report["class_names"]) for run in runs]
    return {
        "split": split,
        "class_names": runs[0].report["class_names"],
        "runs": described,
        "protocol_differences": {
            name: [run[key] for run in described]
            for key, name in names.items()
            if any(run[key] != described[0][key] for run in described)
        },
        "pairs": pairs,
    }


def _describe(run: Run, class_names: Sequence[str]) -> dict[str, Any]:
    per_class = run.scores["per_class"]
    return {
        "name": run.name,
        "folder": str(run.folder),
        "model": run.report["model"],
        "n": run.scores["n"],
        **{key: run.report.get(key) for key in PROTOCOL},
        **{score: run.scores[score] for score in SCORES},
        "per_class_f1": {name: per_class[name]["f1"] for name in class_names},
    }


def _pair(first: Run, second: Run) -> dict[str, Any]:
    """Compare two runs on the rows that both have with the same label."""
    common, of_first, of_second = np.intersect1d(
        first.rows, second.rows, assume_unique=True, return_indices=True
    )
    same = first.labels[of_first] == second.labels[of_second]
    if not same.any():
        raise InputError(
            f"{first.name} and {second.name} have no rows in common with the same label "
            f"({len(common)} with another); compare runs on the same data"
        )
    of_first, of_second = of_first[same], of_second[same]
    labels = first.labels[of_first]
    first_right = first.predicted[of_first] == labels
    second_right = second.predicted[of_second] == labels
    rows = len(labels)
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    return {
        "first": first.name,
        "second": second.name,
        "n": rows,
        "relabelled": int((~same).sum()),
        "rows_of_first_alone": len(first.rows) - len(common),
        "rows_of_second_alone": len(second.rows) - len(common),
        "first_accuracy": float(first_right.mean()),
        "second_accuracy": float(second_right.mean()),
        "difference": (only_second - only_first) / rows,
        "difference_interval": difference_interval(only_first, only_second, rows),
        "only_first_right": only_first,
        "only_second_right": only_second,
        "p": mcnemar(only_first, only_second),
    }
