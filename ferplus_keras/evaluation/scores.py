"""One split with the probabilities that a classifier gave it, and every score that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ferplus_keras.data.dataset import Split
from ferplus_keras.evaluation.calibration import (
    at_temperature,
    calibration_error,
    log_loss,
    reliability,
)
from ferplus_keras.evaluation.metrics import agreement, score, summary


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One split with the probabilities that a classifier gave it."""

    split: Split  # the rows that the main label rule keeps
    probabilities: np.ndarray  # (n, C) float32, of the ensemble where there are several members
    votes: np.ndarray | None = None  # (n, C) int, for each class; None where nobody voted on these
    rules: Mapping[str, Evaluation] = field(default_factory=dict)
    """Other label rule -> the same classifier on its rows."""
    members: Sequence[Evaluation] = ()  # each member alone on the same rows

    @cached_property
    def labels(self) -> np.ndarray:
        """The class against which each row is scored, (n,) int."""
        return self.split.labels(self.probabilities)

    @cached_property
    def predicted(self) -> np.ndarray:
        """The most probable class of each row, (n,) int."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def right_classes(self) -> np.ndarray:
        """Which classes count as right for each row, (n, C) bool."""
        shape = self.probabilities.shape
        one_hot = np.eye(shape[1], dtype=np.float32)
        labels = [self.split.labels(np.broadcast_to(answer, shape)) for answer in one_hot]
        return np.stack(labels, axis=1) == np.arange(shape[1])

    def summary(self, rows: np.ndarray | slice = slice(None)) -> dict[str, Any]:
        """Return n, accuracy, macro F1 and balanced accuracy of some rows: `metrics.summary`."""
        return summary(self.labels[rows], self.predicted[rows], self.split.class_names)

    def scores(self, temperature: float | None = None) -> dict[str, Any]:
        """Return everything that a report says of the split, JSON-ready.

        Args:
            temperature: at which loss and calibration are given once more; None leaves this out.

        Returns:
            What `metrics.score` returns, and leak_free, label_rules (as `summary` each),
            calibration (reliability, at_temperature) and, where there are votes, annotators.
        """
        found = score(self.labels, self.probabilities, self.split.class_names)
        if self.split.leaked is not None:
            found["leak_free"] = self.summary(~self.split.leaked)
        found["label_rules"] = {rule: of_rule.summary() for rule, of_rule in self.rules.items()}
        found["calibration"] = {"reliability": reliability(self.labels, self.probabilities)}
        if temperature is not None:
            scaled = at_temperature(self.probabilities, temperature)
            found["calibration"]["at_temperature"] = {
                "loss": log_loss(self.labels, scaled),
                "calibration_error": calibration_error(self.labels, scaled),
            }
        if self.votes is not None:
            found["annotators"] = agreement(self.votes, self.probabilities)
        return found
