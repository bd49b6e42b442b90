"""How much a training row of each class counts, as docs/class_weights.md explains."""

from collections.abc import Sequence

import numpy as np

from ferplus_keras.data.dataset import DATASETS, Split
from ferplus_keras.emotions import FERPLUS_CLASSES
from ferplus_keras.errors import InputError, UsageError, unknown

WTOMIN_WEIGHTS = (
    *(2.74398525, 3.56296941, 7.9199129, 8.44722581),
    *(12.27334083, 215.34868421, 50.51388889, 230.51408451),
)
"""The wtomin project's for FER+: 32,733 kept rows of all splits / those of the class."""

NAMES = ("wtomin", "balanced", "none")
"""Settings that are a name; any other setting is numbers."""


def class_weights(
    setting: str | float | Sequence[float | str] | None,
    train_split: Split,
    dataset_name: str,
    label_rule: str,
) -> np.ndarray | None:
    """Return what each class weighs in the training loss, (C,) float32; None: every row counts 1.

    Args:
        setting: one of `NAMES`, or one number per class (a single number is meant for every class,
            as in the older project), alone or in a sequence; None for the default: the label
            rule's for the eight classes of FERPlus ("wtomin" under majority), else "none".
        train_split: the rows that "balanced" counts.
        dataset_name, label_rule: where its targets come from.

    Raises:
        UsageError: an unknown name; numbers of another count, negative, not finite or all 0;
            "wtomin" for classes other than the eight of FERPlus.
        InputError: "balanced", and a class has no training row.
    """
    class_names = train_split.class_names
    label_set = DATASETS[dataset_name]
    published = label_set.uses_votes and class_names == FERPLUS_CLASSES
    if setting is None:
        setting = label_set.rule(label_rule).class_weights if published else "none"
    given = [setting] if isinstance(setting, str | int | float) else list(setting)
    name = given[0] if len(given) == 1 else None
    if not isinstance(name, str):
        try:
            weights = np.array(given, np.float32)
        except ValueError:
            weights = np.array([np.nan])
        if len(weights) == 1:
            weights = np.repeat(weights, len(class_names))
        usable = np.all(np.isfinite(weights) & (weights >= 0)) and weights.any()
        if weights.shape != (len(class_names),) or not usable:
            raise UsageError(
                f"expected class weights as one of {', '.join(NAMES)}, or as {len(class_names)} "
                f"numbers of at least 0 (not all 0) in the order {', '.join(class_names)}; "
                f"got {given}."
            )
        return weights
    if name == "none":
        return None
    if name == "balanced":
        shares = train_split.targets / train_split.targets.sum(axis=1, keepdims=True, dtype=float)
        rows = shares.sum(axis=0)  # a soft target counts for each class by its share
        if not rows.all():
            missing = [class_names[index] for index in np.flatnonzero(rows == 0)]
            raise InputError(
                "expected training rows of every class for the class weights 'balanced'; none has "
                f"{', '.join(missing)}: use more rows or other class weights."
            )
        return (rows.sum() / (len(rows) * rows)).astype(np.float32)  # the mean row weighs 1
    if name != "wtomin":
        raise unknown("class weights", name, NAMES)
    if not published:
        raise UsageError(
            "the class weights 'wtomin' are FER+'s, for its eight classes; for the "
            f"{len(class_names)} of this {dataset_name} ({', '.join(class_names)}) use "
            f"'balanced', 'none' or {len(class_names)} numbers."
        )
    return np.array(WTOMIN_WEIGHTS, np.float32)
