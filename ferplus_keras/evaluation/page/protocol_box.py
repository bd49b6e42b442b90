"""What the numbers of the page mean: data, label rule, preprocessing, checkpoint, versions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ferplus_keras.data.label_sets import DATASETS
from ferplus_keras.data.views import VIEWS
from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.models.registry import MODELS
from ferplus_keras.page.markup import Markup, decimal, facts, tag


def protocol_box(report: dict[str, Any]) -> Markup:
    """Return the protocol as a list of names and values."""
    label_set = DATASETS[report["dataset_name"]]
    splits = [f"{name}: {split['n']:,} faces" for name, split in report["splits"].items()]
    temperature = report["temperature"]
    averages = report["tta"] != "none" or "members" in report
    pairs = [
        ("Data set", f"{label_set.name}: {label_set.description}"),
        ("Label rule", f"{report['label_rule']}: {rule_meaning(report, report['label_rule'])}"),
        ("Splits", f"{', '.join(splits)}; every row that the rule keeps, once"),
        ("Classes", ", ".join(report["class_names"])),
        ("Class map", ", ".join(report["class_map"]) if report["class_map"] else "none"),
        ("Preprocessing", _preprocessing(report)),
        ("Test-time augmentation", _augmentation(report["tta"])),
        ("Averaged over", report["average"] if averages else None),
        *_origin(report),
        (
            "Temperature",
            "not fitted: the validation split was not evaluated"
            if temperature is None
            else f"{decimal(temperature)}, fitted on the validation split; the probabilities "
            "of this page are those of the network, without it, unless said otherwise",
        ),
        ("Intervals", "95 %, from a bootstrap over the rows"),
        ("Backend", report["backend"]),
        ("Versions", ", ".join(f"{name} {of}" for name, of in report["versions"].items())),
    ]
    return tag("div", facts(pairs), class_="panel")


def rule_meaning(report: dict[str, Any], rule: str) -> str:
    """Return one line about a label rule of the report's data set."""
    return DATASETS[report["dataset_name"]].rules[rule].description


def _origin(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Return where the network comes from; the members of an ensemble have a table of their own."""
    if "members" in report:
        return [("Checkpoints", f"{len(report['members'])} members, see below")]
    trained = report["trained_with"]
    epoch = "" if report["epoch"] is None else f"epoch {report['epoch']}, "
    checkpoint = tag(
        "span",
        tag("code", report["checkpoint"]),
        f" ({epoch}SHA-256 ",
        tag("code", report["checkpoint_sha256"]),
        ")",
    )
    return [
        ("Trained with", f"{trained['dataset_name']}, label rule {trained['label_rule']}"),
        ("Checkpoint", checkpoint),
    ]


def _preprocessing(report: dict[str, Any]) -> str:
    """Say what the graph does with a face before its first layer."""
    networks = {(of["model"], of["image_size"]) for of in report.get("members", [report])}
    if len(networks) > 1:
        return "each member’s own"
    ((model, size),) = networks
    resized = "left at" if size == FACE_SIZE else "resized to"
    text = f"grey faces of {FACE_SIZE}×{FACE_SIZE} pixels, {resized} {size}×{size}"
    spec = MODELS.get(model)
    if spec is None:
        return text
    if spec.equalize:
        return f"{text}, histogram equalised, best-fitting plane removed, unit variance"
    means = " / ".join(f"{mean:g}" for mean in spec.mean)
    if spec.crop != FACE_SIZE:
        text = f"the centre {spec.crop}×{spec.crop} pixels of {text}"
    text += f", {len(spec.mean)} channel{'s' * (len(spec.mean) > 1)}, minus {means}"
    return text + (f", divided by {' / '.join(f'{std:g}' for std in spec.std)}" if spec.std else "")


def _augmentation(tta: str) -> str:
    views = len(VIEWS[tta](np.zeros((1, FACE_SIZE, FACE_SIZE), np.uint8)))
    return "none" if views == 1 else f"{tta}, the mean over {views} views of each face"
