"""Which rows an epoch reads, and in which order: one table."""

from collections.abc import Callable

import numpy as np

from ferplus_keras.registry import Registry

SAMPLINGS: Registry[Callable[[np.ndarray, np.random.Generator], np.ndarray]] = Registry("sampling")
"""Name -> function from targets (n, C) and a generator to row numbers (n,) int64."""


@SAMPLINGS.register("shuffled")
def shuffled(targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return every row once, in a random order."""
    order = np.arange(len(targets))
    rng.shuffle(order)
    return order


@SAMPLINGS.register("balanced")
def balanced(targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return as many rows as there are, drawn with replacement, every class equally often.

    A row with a soft target stands for each class by its share. Classes without rows are skipped.
    """
    shares = targets / targets.sum(axis=1, keepdims=True, dtype=np.float64)
    of_class = shares.sum(axis=0)
    wanted = np.divide(1, of_class, out=np.zeros_like(of_class), where=of_class > 0)
    chance = shares @ wanted
    return rng.choice(len(targets), len(targets), p=chance / chance.sum())
