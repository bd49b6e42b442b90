"""Scores of one split, computed by scikit-learn from probabilities and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ferplus_keras.evaluation.calibration import calibration_error

RESAMPLES = 2000
"""Bootstrap samples behind every interval."""

CLIP = 1e-7
"""Smallest probability whose logarithm is taken, as in Keras."""


def score(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    """Return the scores of one split as JSON-ready fractions.

    Args:
        labels: (n,) int, index of the true class.
        probabilities: (n, C) float, rows of class probabilities.
        class_names: C names.

    Returns:
        What `summary` returns, and: top2_accuracy; weighted_f1; cohens_kappa; loss (log loss: mean
        −log of the true class's probability, in nats, clipped at 1e-7 as Keras does); brier (sum
        over classes of squared differences, 0 to 2); calibration_error (expected, 15 bins);
        macro_auroc and macro_average_precision (one class against the rest); per_class
        (precision, recall, f1, support, auroc, average_precision) and confusion_matrix (rows true,
        columns predicted). Means run over the classes that have rows. What is not defined is None:
        recall and F1 of a class without rows, precision of a class that was never predicted.
    """
    from sklearn.metrics import cohen_kappa_score, precision_recall_fscore_support

    predicted = probabilities.argmax(axis=1)
    every = np.arange(len(class_names))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=np.nan
    )
    f1 = np.where(support > 0, np.nan_to_num(f1), np.nan)
    auroc, average_precision = _one_against_rest(labels, probabilities)
    of_truth = probabilities[np.arange(len(labels)), labels]
    ranks = (probabilities > of_truth[:, None]).sum(axis=1)
    one_hot = np.eye(len(class_names))[labels]
    kappa = cohen_kappa_score(labels, predicted, labels=every) if len(set(labels)) > 1 else np.nan
    return summary(labels, predicted, class_names) | {
        "top2_accuracy": float(np.mean(ranks < 2)),
        "weighted_f1": _defined(np.nansum(f1 * support) / support.sum()),
        "cohens_kappa": _defined(kappa),
        "loss": log_loss(labels, probabilities),
        "brier": float(((probabilities - one_hot) ** 2).sum(axis=1).mean()),
        "calibration_error": calibration_error(labels, probabilities),
        "macro_auroc": _mean(auroc),
        "macro_average_precision": _mean(average_precision),
        "per_class": {
            name: {
                "precision": _defined(precision[index]),
                "recall": _defined(recall[index]),
                "f1": _defined(f1[index]),
                "support": int(support[index]),
                "auroc": _defined(auroc[index]),
                "average_precision": _defined(average_precision[index]),
            }
            for index, name in enumerate(class_names)
        },
        "confusion_matrix": _confusion(labels, predicted, len(class_names)).tolist(),
    }


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return mean −log of the true class's probability, in nats, clipped as Keras' losses clip.

    Args:
        labels: (n,) int, index of the true class.
        probabilities: (n, C) float.
    """
    of_truth = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(of_truth, CLIP, 1 - CLIP)).mean())


def summary(
    labels: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    """Return n, accuracy, macro_f1 and balanced_accuracy (mean recall) with their 95 % intervals.

    The intervals (`accuracy_interval` and so on: [low, high]) are percentiles of a bootstrap over
    rows. Of rows drawn with replacement only the confusion matrix counts, and its cells follow a
    multinomial distribution, from which it is drawn directly. Without rows every score is None.

    Args:
        labels: (n,) int, index of the true class.
        predicted: (n,) int, index of the predicted class.
        class_names: C names.
    """
    names = ("accuracy", "macro_f1", "balanced_accuracy")
    if not len(labels):
        undefined = {f"{name}{part}": None for name in names for part in ("", "_interval")}
        return {"n": 0, **undefined}
    matrix = _confusion(labels, predicted, len(class_names))
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(labels), matrix.ravel() / len(labels), RESAMPLES)
    scores = _of_matrices(matrix[None])
    spread = _of_matrices(drawn.reshape(RESAMPLES, *matrix.shape))
    found: dict[str, Any] = {"n": len(labels)}
    for name, value, values in zip(names, scores, spread, strict=True):
        found[name] = float(value[0])
        found[f"{name}_interval"] = np.percentile(values, [2.5, 97.5]).tolist()
    return found


def _confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(labels, predicted, labels=np.arange(classes))


def _of_matrices(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return accuracy, macro F1 and mean recall, (m,) each, of confusion matrices (m, C, C)."""
    right = np.diagonal(matrices, axis1=1, axis2=2)
    support, predicted = matrices.sum(axis=2), matrices.sum(axis=1)
    present = support > 0
    f1 = 2 * right / np.maximum(support + predicted, 1)
    recall = right / np.maximum(support, 1)
    classes = present.sum(axis=1)
    return (
        right.sum(axis=1) / support.sum(axis=1),
        (f1 * present).sum(axis=1) / classes,
        (recall * present).sum(axis=1) / classes,
    )


def _one_against_rest(
    labels: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return AUROC and average precision of each class, (C,); NaN where a side has no rows."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    found = np.full((2, probabilities.shape[1]), np.nan)
    for index, scores in enumerate(probabilities.T):
        truth = labels == index
        if truth.any() and not truth.all():
            found[:, index] = roc_auc_score(truth, scores), average_precision_score(truth, scores)
    return found[0], found[1]


def _mean(values: np.ndarray) -> float | None:
    return None if np.isnan(values).all() else float(np.nanmean(values))


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
