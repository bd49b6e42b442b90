"""What an evaluation hands over: report.json, predictions.csv and a printed table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.evaluation.scores import Evaluation
from ferplus_keras.files import replacing

DIGITS = "%.9g"
"""Enough to read back a float32 exactly."""

SEPARATOR = "|"
"""Stands between several right classes of one row."""


def write_report(report: dict[str, Any], path: Path) -> None:
    """Write report.json whole."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def write_predictions(evaluations: Mapping[str, Evaluation], path: Path) -> None:
    """Write one line per face: split, row, label, predicted and the probability of each class.

    `row` is that of fer2013.csv, from 0; `Split.row_ids` says more. Own pictures have two more
    columns: their path, and the beginning of the SHA-256 of their pixels. Where several classes
    can be right, `label` is the one that the answer is scored against, and `right_classes` lists
    them all. Every score can be recomputed exactly.

    Args:
        evaluations: by name of the split.
        path: CSV file, replaced whole.
    """
    import pandas

    tables = []
    for name, found in evaluations.items():
        split = found.split
        names = np.array(split.class_names)
        said = {
            "split": name,
            "row": split.row_ids,
            "label": names[found.labels],
            "predicted": names[found.predicted],
        }
        more = {}
        if split.paths is not None:
            more["path"] = split.paths
            more["pixels"] = [hashlib.sha256(image).hexdigest()[:16] for image in split.images]
        if (found.right_classes.sum(axis=1) > 1).any():
            more["right_classes"] = [SEPARATOR.join(names[right]) for right in found.right_classes]
        numbers = pandas.DataFrame(found.probabilities, columns=names)
        parts = (pandas.DataFrame(said), numbers, pandas.DataFrame(more))
        tables.append(pandas.concat(parts, axis=1))
    with replacing(path) as temporary:
        pandas.concat(tables).to_csv(temporary, index=False, float_format=DIGITS)


def format_report(report: dict[str, Any]) -> str:
    """Return the scores as tables: splits, label rules and members, then each class."""
    splits = report["splits"]
    lines = [
        f"{report['model']} on {report['dataset_name']}, label rule {report['label_rule']}"
        + (f", test-time augmentation {report['tta']}" if report["tta"] != "none" else ""),
        *(
            ["a trial: trained on {limit_train:,} rows only".format(**report["trial"])]
            if "trial" in report
            else []
        ),
        f"{'split':<26}{'n':>7}{'accuracy (95 % interval)':>27}"
        + "".join(f"{name:>19}" for name in _SHOWN),
    ]
    if "trial" in report:
        lines.insert(1, f"a trial: trained on {report['trial']['limit_train']:,} rows only")
    for name, split in splits.items():
        cells = "".join(f"{_number(split[score]):>19}" for score in _SHOWN)
        lines.append(f"{name:<26}{split['n']:>7}{_with_interval(split):>27}{cells}")
        if split["leak_free"]["n"] < split["n"]:
            lines.append(_indented("without leaks", split["leak_free"]))
        lines += [_indented(rule, found) for rule, found in split["label_rules"].items()]
        for member in report.get("members", ()):
            lines.append(_indented(Path(member["checkpoint"]).parent.name, member["splits"][name]))
        if split.get("annotators"):
            lines.append(
                "  against the other annotators: model {model_accuracy:.4f}, held-out annotator "
                "{annotator_accuracy:.4f}".format(**split["annotators"])
            )
    lines += ["", f"{'F1 (faces)':<12}" + "".join(f"{name:>18}" for name in splits)]
    for class_name in report["class_names"]:
        cells = []
        for split in splits.values():
            of_class = split["per_class"][class_name]
            cells.append(f"{_number(of_class['f1'])} ({of_class['support']})")
        lines.append(f"{class_name:<12}" + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines)


_SHOWN = ("loss", "macro_f1", "balanced_accuracy", "calibration_error")
"""Scores of the printed table, beside the accuracy."""


def _indented(name: str, found: dict[str, Any]) -> str:
    return f"  {name:<24}{found['n']:>7}{_with_interval(found):>27}"


def _with_interval(found: dict[str, Any]) -> str:
    if found["accuracy"] is None:
        return "not defined"
    return "{:.4f} ({:.4f}-{:.4f})".format(found["accuracy"], *found["accuracy_interval"])


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"
