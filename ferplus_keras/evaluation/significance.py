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
    from scipy.stats import binom

    fewer = min(only_first, only_second)
    return float(min(1.0, 2 * binom.cdf(fewer, only_first + only_second, 0.5)))


def difference_interval(only_first: int, only_second: int, rows: int) -> list[float]:
    """Return the 95 % interval of the second's accuracy minus the first's.

    A paired bootstrap over the faces: a resampled face brings both answers along. Only how many
    faces one alone gets right counts, and these counts are multinomial.

    Args:
        only_first: as for `mcnemar`.
        only_second: as for `mcnemar`.
        rows: all faces, 1 or more.
    """
    shares = np.array([only_first, only_second, rows - only_first - only_second]) / rows
    drawn = np.random.default_rng(0).multinomial(rows, shares, RESAMPLES)
    return np.percentile((drawn[:, 1] - drawn[:, 0]) / rows, [2.5, 97.5]).tolist()


def holm(values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number (Holm 1979), in the same order.

    Args:
        values: p of each test.
    """
    found, largest = [0.0] * len(values), 0.0
    for rank, index in enumerate(np.argsort(values, kind="stable")):
        largest = max(largest, min(1.0, values[index] * (len(values) - rank)))
        found[index] = largest
    return found
