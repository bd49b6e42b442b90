"""What the numbers of a target mean, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ROUNDING = 1e-6
"""Shares of votes that are equal may differ by this once they are added up."""


@dataclass(frozen=True)
class TargetKind:
    """A meaning of targets (n, C) float32: here, shares of the classes that sum to 1."""

    name: str
    loss: str = "categorical_crossentropy"  # the default
    accuracy: str = "categorical_accuracy"  # the training metric that counts right predictions
    mixable: bool = True  # by mixup, CutMix, label smoothing and teachers

    def labels(self, targets: np.ndarray, probabilities: np.ndarray | None = None) -> np.ndarray:
        """Return the class against which each prediction is scored, (n,) int64.

        A prediction is right where its most probable class is this one; its log loss is that of
        this class's probability.

        `targets` are (n, C) float32; `probabilities` (n, C), or None for the class that describes
        the row best.
        """
        return targets.argmax(axis=1)

    def merge(self, targets: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return targets of merged classes, and which rows lose their label.

        Shares add up over the classes merged and are divided by what is left. A row is lost where
        one class that is left out holds more than every merged class. From targets (n, C) float32
        and members (C, M) float32, 1 where a class goes into a merged one, to (n, M) and (n,) bool.
        """
        merged = targets @ members
        left_out = (targets * ~members.any(axis=1)).max(axis=1)
        lost = left_out > merged.max(axis=1) + _ROUNDING
        total = merged.sum(axis=1, keepdims=True)
        return np.divide(merged, total, out=merged, where=total > 0), lost


@dataclass(frozen=True)
class RightSet(TargetKind):
    """Targets that are 1 for every class that counts as right, and 0 elsewhere."""

    def labels(self, targets: np.ndarray, probabilities: np.ndarray | None = None) -> np.ndarray:
        """Return the right class with the highest probability; the first without predictions."""
        if probabilities is None:
            return targets.argmax(axis=1)
        return np.where(targets > 0, probabilities, -1).argmax(axis=1)

    def merge(self, targets: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return merged sets: a class is right where one that went into it was; none left: lost."""
        merged = np.minimum(targets @ members, 1)
        return merged, merged.max(axis=1) == 0


ONE_CLASS = TargetKind("one class")
DISTRIBUTION = TargetKind("distribution")
RIGHT_SET = RightSet(
    "set of right classes", loss="multi_target", accuracy="multi_target_accuracy", mixable=False
)
