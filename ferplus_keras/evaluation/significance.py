"""Could a difference between two classifiers on the same faces be chance?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ferplus_keras.evaluation.metrics import RESAMPLES


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p of McNemar's exact test (McNemar 1947; Dietterich 1998).

    Were both equally good, the faces that only one of them gets right would fall to either side
    like a fair coin.

    Args:
        only_first: faces that the first gets right and the second does not.
        only_second: the other way round.
    """
    from scipy.stats import binomtest

    tosses = only_first + only_second
    return float(binomtest(only_first, tosses).pvalue) if tosses else 1.0


def difference_interval(only_first: int, only_second: int, rows: int) -> list[float]:
    """Return the 95 % interval of the second's accuracy minus the first's, on `rows` faces.

    A paired bootstrap over the faces: a resampled face brings both answers along. Only how many
    faces one alone gets right counts, and these counts are multinomial.
    """
    shares = np.array([only_first, only_second, rows - only_first - only_second]) / rows
    drawn = np.random.default_rng(0).multinomial(rows, shares, RESAMPLES)
    return np.percentile((drawn[:, 1] - drawn[:, 0]) / rows, [2.5, 97.5]).tolist()


def holm(values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number (Holm 1979), in the same order."""
    order = np.argsort(values, kind="stable")
    left = len(values) - np.arange(len(values))
    found = np.empty(len(values))
    found[order] = np.minimum(1, np.maximum.accumulate(np.take(values, order) * left))
    return found.tolist()
