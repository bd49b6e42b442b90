"""Scores of one split, computed by scikit-learn from probabilities and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def score(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    """Return the scores of one split as JSON-ready fractions.

    Args:
        labels: (n,) int, index of the true class.
        probabilities: (n, C) float, rows of class probabilities.
        class_names: C names.

    Returns:
        n, accuracy, loss (mean −log of the true class's probability, in nats, probabilities
        clipped at 1e-7 as Keras does), macro_f1, balanced_accuracy (mean recall), per_class
        (precision, recall, f1, support) and confusion_matrix (rows true, columns predicted).
        Means run over the classes that have rows. What is not defined is None: recall and F1 of
        a class without rows, precision of a class that was never predicted.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    predicted = probabilities.argmax(axis=1)
    every = np.arange(len(class_names))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=np.nan
    )
    f1 = np.where(support > 0, np.nan_to_num(f1), np.nan)
    of_truth = probabilities[np.arange(len(labels)), labels]
    return {
        "n": len(labels),
        "accuracy": float(np.mean(predicted == labels)),
        "loss": float(-np.log(np.clip(of_truth, 1e-7, 1 - 1e-7)).mean()),
        "macro_f1": float(np.nanmean(f1)),
        "balanced_accuracy": float(np.nanmean(recall)),
        "per_class": {
            name: {
                "precision": _defined(precision[index]),
                "recall": _defined(recall[index]),
                "f1": _defined(f1[index]),
                "support": int(support[index]),
            }
            for index, name in enumerate(class_names)
        },
        "confusion_matrix": confusion_matrix(labels, predicted, labels=every).tolist(),
    }


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
