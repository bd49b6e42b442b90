"""report.html: an evaluation on one page that needs nothing but a browser."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.data.augment import VIEWS
from ferplus_keras.data.dataset import DATASETS
from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.errors import InputError
from ferplus_keras.evaluation.calibration import at_temperature, reliability
from ferplus_keras.evaluation.scores import Evaluation
from ferplus_keras.evaluation.svg_plots import plot_history, plot_reliability, plot_roc
from ferplus_keras.models.registry import MODELS
from ferplus_keras.run import Run
from ferplus_keras.templates import decimal, percent, png, write_page

SHOWN = 12
"""Faces of each kind and split."""

CLASSES_SHOWN = 10
"""Bars beside a face: the classes with the largest shares where there are more."""


def write_report_page(
    report: dict[str, Any], evaluations: Mapping[str, Evaluation], path: Path
) -> None:
    """Write report.html whole.

    Args:
        report: as `evaluate` returns it.
        evaluations: by name of the split, the same as in the report.
        path: HTML file, replaced whole.
    """
    views = "" if report["tta"] == "none" else f", test-time augmentation {report['tta']}"
    write_page(
        path,
        "report.html",
        title=f"{report['model']} on {report['dataset_name']}",
        subtitle=f"Scored under the label rule {report['label_rule']}{views}",
        report={"members": (), "trial": None} | report,
        protocol=_protocol(report, next(iter(evaluations.values())).split.images.shape[1]),
        splits=[_split(report, name, found) for name, found in evaluations.items()],
        training=_training(report),
    )


def _split(report: dict[str, Any], name: str, found: Evaluation) -> dict[str, Any]:
    """Return what the page shows of one split."""
    scores = {"annotators": None} | report["splits"][name]
    meanings = DATASETS[report["dataset_name"]].rules
    leaks = scores["leak_free"]["n"] < scores["n"]
    rule = report["label_rule"]
    rules = [(rule, scores, f"this page’s rule: {meanings[rule].description}")]
    if leaks:
        about = "faces that are not in the training rows too"
        rules.append(("without leaks", scores["leak_free"], about))
    for other, under in scores["label_rules"].items():
        rules.append((other, under, meanings[other].description))
    members = [("together", scores, f"mean of {report['average']}")]
    for member in report.get("members", ()):
        members.append((_title(member), member["splits"][name], _about(member)))

    scaled, lines = None, [f"as it is: error {percent(scores['calibration_error'])}"]
    if report["temperature"] is not None:
        probabilities = at_temperature(found.probabilities, report["temperature"])
        scaled = reliability(found.labels, probabilities)
        at = scores["calibration"]["at_temperature"]
        lines.append(
            f"at temperature {decimal(report['temperature'], 2)}: error "
            f"{percent(at['calibration_error'])}, loss {decimal(at['loss'])} instead of "
            f"{decimal(scores['loss'])}"
        )
    areas = [f"{of} {decimal(row['auroc'])}" for of, row in scores["per_class"].items()]
    return {
        "name": name,
        "scores": scores,
        "leaks": leaks,
        "rules": _side_by_side(rules) if len(rules) > 1 else None,
        "members": _side_by_side(members),
        "most": max(1, *(row["support"] for row in scores["per_class"].values())),
        "calibration": plot_reliability(
            scores["calibration"]["reliability"],
            scaled,
            f"Reliability diagram of {name}: {'; '.join(lines)}",
        ),
        "calibration_key": lines,
        "roc": plot_roc(
            found.labels,
            found.probabilities,
            f"ROC curves of {name}, area under each: {', '.join(areas)}",
        ),
        "roc_key": areas,
        "errors": [_face(found, row) for row in confident_errors(found)],
        "ambiguous": None
        if found.votes is None
        else [_face(found, row) for row in ambiguous(found)],
    }


def _side_by_side(entries: Sequence[tuple[str, dict[str, Any], str]]) -> dict[str, Any]:
    """Place accuracies with their intervals on one scale of steps of 5 %."""
    known = [of["accuracy_interval"] for _, of, _ in entries if of["accuracy_interval"]]
    low = math.floor(min((low for low, _ in known), default=0) * 20) / 20
    high = math.ceil(max((high for _, high in known), default=1) * 20) / 20
    high = high if high > low else low + 0.05

    def place(of: dict[str, Any]) -> list[str] | None:
        if of["accuracy"] is None:
            return None
        numbers = (of["accuracy_interval"][0], of["accuracy"], of["accuracy_interval"][1])
        return [f"{100 * (number - low) / (high - low):.1f}" for number in numbers]

    return {
        "span": (low, high),
        "entries": [(name, of, meaning, place(of)) for name, of, meaning in entries],
    }


def _title(member: dict[str, Any]) -> str:
    path = Path(member["checkpoint"])
    return f"{path.parent.name}/{path.name}"


def _about(member: dict[str, Any]) -> str:
    digest = member["checkpoint_sha256"]
    return (
        f"{member['model']}, {member['image_size']} pixels, trained with "
        f"{member['trained_with']['label_rule']}" + (f", SHA-256 {digest[:12]}…" if digest else "")
    )


def _protocol(report: dict[str, Any], side: int) -> list[tuple[str, str | None]]:
    """Return what the numbers of the page mean, as names and values."""
    from markupsafe import Markup

    label_set = DATASETS[report["dataset_name"]]
    rule, temperature = report["label_rule"], report["temperature"]
    splits = [f"{name}: {split['n']:,} faces" for name, split in report["splits"].items()]
    hashes = [
        Markup("{} <code>{}</code>").format(name, digest)
        for name, digest in report.get("data", {}).items()
    ]
    pairs = [
        ("Data set", f"{label_set.name}: {label_set.description}"),
        ("Files (SHA-256)", Markup("<br>").join(hashes) if hashes else None),
        ("Label rule", f"{rule}: {label_set.rules[rule].description}"),
        ("Splits", f"{', '.join(splits)}; every row that the rule keeps, once"),
        ("Classes", ", ".join(report["class_names"])),
        ("Class map", ", ".join(report["class_map"]) if report["class_map"] else "none"),
        ("Preprocessing", _preprocessing(report, side)),
        ("Test-time augmentation", _augmentation(report["tta"])),
    ]
    if report["tta"] != "none" or "members" in report:
        pairs.append(("Averaged over", report["average"]))
    if "members" in report:
        pairs.append(("Checkpoints", f"{len(report['members'])} members, see below"))
    else:
        trained, digest = report["trained_with"], report["checkpoint_sha256"]
        epoch = "" if report["epoch"] is None else f" (epoch {report['epoch']})"
        checkpoint = Markup("<code>{}</code>{}").format(report["checkpoint"], epoch)
        if digest:
            checkpoint += Markup("<br>SHA-256 <code>{}</code>").format(digest)
        pairs += [
            ("Trained with", f"{trained['dataset_name']}, label rule {trained['label_rule']}"),
            ("Checkpoint", checkpoint),
        ]
    if "trial" in report:
        rows = report["trial"]["limit_train"]
        pairs.append(("Trial", f"trained on {rows:,} rows only (--limit_train)"))
    fitted = "not fitted: the validation split was not evaluated"
    if temperature is not None:
        fitted = (
            f"{decimal(temperature)}, fitted on the validation split; unless said otherwise, the "
            "probabilities on this page are those of the network without it"
        )
    return [
        *pairs,
        ("Temperature", fitted),
        ("Intervals", "95 %, from a bootstrap over the rows"),
        ("Backend", report["backend"]),
        ("Versions", ", ".join(f"{name} {of}" for name, of in report["versions"].items())),
    ]


def _preprocessing(report: dict[str, Any], side: int) -> str:
    """Say what the graph does with a face of `side` pixels before its first layer."""
    networks = {(of["model"], of["image_size"]) for of in report.get("members", [report])}
    if len(networks) > 1:
        return "each member’s own"
    ((model, size),) = networks
    resized = "left at" if size == side else "resized to"
    text = f"grey faces of {side}×{side} pixels, {resized} {size}×{size}"
    if model not in MODELS:
        return text
    spec = MODELS[model]
    if spec.equalize:
        return f"{text}, histogram equalised, best-fitting plane removed, unit variance"
    if spec.crop != FACE_SIZE:
        text = f"the centre {spec.crop}×{spec.crop} pixels of {text}"
    means = " / ".join(f"{mean:g}" for mean in spec.mean)
    text += f", {len(spec.mean)} channel{'s' * (len(spec.mean) > 1)}, minus {means}"
    return text + (f", divided by {' / '.join(f'{std:g}' for std in spec.std)}" if spec.std else "")


def _augmentation(tta: str) -> str:
    views = len(VIEWS[tta](np.zeros((1, 8, 8), np.uint8)))
    return "none" if views == 1 else f"{tta}, the mean over {views} views of each face"


def _training(report: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]], str]]:
    """Return the folder of each run with its curves, or with what is wrong with training.csv."""
    epochs: dict[Path, int | None] = {}
    for member in report.get("members", [report]):
        epochs.setdefault(Path(member["checkpoint"]).parent, member["epoch"])
    found = []
    for folder, epoch in epochs.items():
        plots, fault = [], ""
        try:
            plots = plot_history(Run(folder).history(), epoch)
        except InputError as error:
            fault = str(error)
        if plots or fault:
            found.append((str(folder), plots, fault))
    return found


def confident_errors(found: Evaluation) -> np.ndarray:
    """Return the rows, (m,) int, with the surest wrong answers, the surest first."""
    rows = np.flatnonzero(found.predicted != found.labels)
    confidence = found.probabilities[rows].max(axis=1)
    return rows[np.argsort(-confidence, kind="stable")][:SHOWN]


def ambiguous(found: Evaluation) -> np.ndarray:
    """Return the rows, (m,) int, whose votes have the largest entropy, the largest first."""
    shares = found.votes / np.maximum(found.votes.sum(axis=1, keepdims=True), 1)
    entropy = -(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=1)
    rows = np.argsort(-entropy, kind="stable")[:SHOWN]
    return rows[entropy[rows] > 0]


def _face(found: Evaluation, row: int) -> dict[str, Any]:
    """Return what a card shows of a row: face, votes, probabilities, label, prediction."""
    split, scores = found.split, found.probabilities[row]
    names = split.class_names
    title = f"row {split.row_ids[row]}" if split.paths is None else str(split.paths[row])
    columns = {"model": [(s, percent(float(s), 0) if s >= 0.005 else "") for s in scores]}
    rank = scores
    if found.votes is not None:
        votes = found.votes[row]
        shares = votes / max(votes.sum(), 1)
        voted = [(share, str(n or "")) for share, n in zip(shares, votes, strict=True)]
        columns = {"votes": voted} | columns
        rank = np.maximum(scores, shares)
    shown = np.sort(np.argsort(-rank, kind="stable")[:CLASSES_SHOWN])
    spoken = [
        f"{head}: " + ", ".join(f"{names[i]} {column[i][1]}" for i in shown if column[i][1])
        for head, column in columns.items()
    ]
    return {
        "png": png(split.images[row]),
        "title": title,
        "label": names[found.labels[row]],
        "predicted": names[found.predicted[row]],
        "confidence": float(scores.max()),
        "leaked": split.leaked is not None and bool(split.leaked[row]),
        "heads": list(columns),
        "rows": [(names[i], [column[i] for column in columns.values()]) for i in shown],
        "description": f"{title}, {'; '.join(spoken)}",
    }
