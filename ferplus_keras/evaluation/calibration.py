"""Does 80 % mean right four times in five? Calibration, and the temperature that corrects it."""

import numpy as np

from ferplus_keras.lazy import scipy

BINS = 15
"""Bins of equal width in which confidence and accuracy are compared (Guo et al. 2017)."""


def reliability(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, list]:
    """Return rows, mean confidence and accuracy of each bin of the largest probability.

    From labels (n,) int and probabilities (n, C) float, {"rows", "confidence", "accuracy"}: BINS
    numbers each; None in a bin without rows.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    rows = np.bincount(bins, minlength=BINS)

    def means(values: np.ndarray) -> list[float | None]:
        sums = np.bincount(bins, values, minlength=BINS)
        return [float(s / n) if n else None for s, n in zip(sums, rows, strict=True)]

    return {"rows": rows.tolist(), "confidence": means(confidence), "accuracy": means(right)}


def calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the expected calibration error: mean |confidence − accuracy|, bins by their rows."""
    bins = zip(*reliability(labels, probabilities).values(), strict=True)
    return sum(n * abs(confidence - right) for n, confidence, right in bins if n) / len(labels)


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return mean −log of the true class's probability, in nats; no probability counts as 0.

    `labels` are (n,) int, indices of the true class; `probabilities` (n, C) float.
    """
    of_truth = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(0 - np.log(np.clip(of_truth, np.finfo(np.float32).tiny, 1)).mean())  # never -0.0


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the temperature T for which softmax(log p / T) has the least log loss.

    Above 1 the network was overconfident. 1 where none lessens it, such as of answers that are 0
    or 1. Guo et al. 2017 (arXiv 1706.04599).
    """

    def loss(log_temperature: float) -> float:
        return log_loss(labels, at_temperature(probabilities, np.exp(log_temperature)))

    bounds = (np.log(0.05), np.log(20))
    found = scipy.optimize.minimize_scalar(loss, bounds=bounds, method="bounded")
    return float(np.exp(found.x)) if found.fun < loss(0) else 1.0


def at_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return (n, C) probabilities as if the logits were divided by `temperature`; 0 stays 0."""
    with np.errstate(divide="ignore"):
        logs = np.log(probabilities.astype(np.float64))
    return scipy.special.softmax(logs / temperature, axis=1)
