"""What counts as probabilities: of classes by column, or an array of the right shape and sums."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ferplus_keras.emotions import VOTE_COLUMNS, usual_name
from ferplus_keras.errors import InputError


def named_columns(columns: Iterable[Any]) -> dict[str, Any]:
    """Return class -> column by its name, of other columns too; {} where they are numbered.

    Raises InputError where two columns name the same.
    """
    found: dict[str, Any] = {}
    for name in columns:
        if (usual := usual_name(str(name))) in found:
            raise InputError(f"expected one column {usual}, found {found[usual]} and {name}")
        found[usual] = name
    return {} if all(map(str.isdecimal, found)) else found


def other_classes(columns: Iterable[str], class_names: Iterable[str]) -> list[str]:
    """Return the columns that are classes of FER+, or votes, beside the classes asked for."""
    return sorted({*columns} & {*map(usual_name, VOTE_COLUMNS)} - {*map(usual_name, class_names)})


def as_probabilities(values: np.ndarray, shape: tuple[int, int], others: int = 0) -> np.ndarray:
    """Return probabilities as float32; raises InputError if they are none or of another shape.

    Rounded ones, whose sums are within 0.05 of 1, are divided by their sums. So are the `shape[1]`
    classes of `values` where as many columns as `others` after them are left out.
    """
    values, (rows, classes) = np.asarray(values), shape
    if values.shape != (rows, classes + others) or values.dtype.kind not in "fiub":
        expected = f"expected probabilities of shape {shape}"
        raise InputError(f"{expected}, got {values.shape} {values.dtype}")
    sums = values.sum(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        wrong = np.flatnonzero(~((values >= 0).all(axis=1) & (np.abs(sums - 1) <= 0.05)))
    if wrong.size:
        example = np.round(values[wrong[0]].astype(float), 4).tolist()
        raise InputError(
            f"expected probabilities with the sum 1; {wrong.size} of {len(values)} rows have none, "
            f"such as {example}; apply softmax to logits, divide percentages by 100"
        )
    if others:  # of a face that is another class for sure, nothing is left
        values = values[:, :classes] + np.finfo(np.float32).tiny
        sums = values.sum(axis=1)
    rounded = (np.abs(sums - 1) > 1e-4) | (others > 0)
    return np.where(rounded[:, None], values / sums[:, None], values).astype(np.float32)
