"""report.html: what its template shows of an evaluation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ferplus_keras.data.augment import VIEWS
from ferplus_keras.data.dataset import DATASETS
from ferplus_keras.emotions import FACE_SIZE
from ferplus_keras.errors import InputError
from ferplus_keras.evaluation.calibration import at_temperature, reliability
from ferplus_keras.evaluation.metrics import vote_entropy, vote_shares
from ferplus_keras.evaluation.plots import plot_history, plot_reliability, plot_roc
from ferplus_keras.evaluation.scores import Evaluation
from ferplus_keras.models.registry import MODELS
from ferplus_keras.run import Run
from ferplus_keras.templates import percent, png, write_page

FACES_SHOWN = 12
"""Faces of each kind and split."""

CLASSES_SHOWN = 10
"""Bars beside a face: the classes with the largest shares where there are more."""


def write_report_page(
    report: dict[str, Any], evaluations: Mapping[str, Evaluation], path: Path
) -> None:
    """Write report.html whole: `report` is what `evaluate` returns, of the same `evaluations`."""
    networks = report.get("members", [report])
    _, side, _, *channels = next(iter(evaluations.values())).split.images.shape
    spec = MODELS.get(networks[0]["model"])
    training = []
    own = () if "not_known" in report else networks  # what lies beside predictions may be others'
    for folder, epoch in {Path(of["checkpoint"]).parent: of["epoch"] for of in own}.items():
        plots, fault = [], ""
        try:
            plots = plot_history(Run(folder).history(), epoch)
        except InputError as error:
            fault = str(error)
        if plots or fault:
            training.append((str(folder), plots, fault))
    write_page(
        path,
        "report.html",
        report={"members": (), "trial": None, "evaluation_id": None, "not_known": ()} | report,
        label_set=DATASETS[report["dataset_name"]],
        networks={(of["model"], of["image_size"]) for of in networks},
        spec=spec,
        side=side,
        crop=round(spec.crop * side / FACE_SIZE) if spec else side,
        colour=bool(channels),
        views=len(VIEWS[report["tta"]](np.zeros((1, side, side), np.uint8))),
        splits=[
            _split(name, report["splits"][name], found, report["temperature"])
            for name, found in evaluations.items()
        ],
        training=training,
    )


def _split(
    name: str, scores: dict[str, Any], found: Evaluation, temperature: float | None
) -> dict[str, Any]:
    as_it_is, scaled = scores["calibration"]["reliability"], None
    if temperature:
        scaled = reliability(found.labels, at_temperature(found.probabilities, temperature))
    divided = None if found.votes is None else [_face(found, row) for row in ambiguous(found)]
    return {
        "name": name,
        "scores": {"annotators": None} | scores,
        "leaks": scores["leak_free"]["n"] < scores["n"],
        "calibration": plot_reliability(as_it_is, scaled, f"Reliability diagram of {name}"),
        "roc": plot_roc(found.labels, found.probabilities, f"ROC curves of {name}"),
        "errors": [_face(found, row) for row in confident_errors(found)],
        "ambiguous": divided,
    }


def confident_errors(found: Evaluation) -> np.ndarray:
    """Return the rows, (m,) int, with the surest wrong answers, the surest first."""
    rows = np.flatnonzero(found.predicted != found.labels)
    return rows[np.argsort(-found.probabilities[rows].max(axis=1), kind="stable")][:FACES_SHOWN]


def ambiguous(found: Evaluation) -> np.ndarray:
    """Return the rows, (m,) int, whose votes have the largest entropy, the largest first."""
    entropy = vote_entropy(found.votes)
    rows = np.argsort(-entropy, kind="stable")[:FACES_SHOWN]
    return rows[entropy[rows] > 0]


def _face(found: Evaluation, row: int) -> dict[str, Any]:
    """Return what a card shows of a row: face, votes, probabilities, label, prediction."""
    split, scores = found.split, found.probabilities[row]
    rank = scores
    columns = {"model": [(s, percent(float(s), 0) if s > 0.005 else "") for s in scores]}
    if found.votes is not None:
        votes, shares = found.votes[row], vote_shares(found.votes[[row]])[0]
        voted = [(share, str(n or "")) for share, n in zip(shares, votes, strict=True)]
        columns = {"votes": voted} | columns
        rank = np.maximum(scores, shares)
    shown = np.sort(np.argsort(-rank, kind="stable")[:CLASSES_SHOWN])
    return {
        "png": png(split.images[row]),
        "title": f"row {split.row_ids[row]}" if split.paths is None else str(split.paths[row]),
        "label": split.class_names[found.labels[row]],
        "predicted": split.class_names[found.predicted[row]],
        "confidence": float(scores.max()),
        "leaked": split.leaked is not None and bool(split.leaked[row]),
        "names": [split.class_names[i] for i in shown],
        "columns": {head: [of[i] for i in shown] for head, of in columns.items()},
    }
