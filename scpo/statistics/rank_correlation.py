"""Spearman's rank correlation, without what else SciPy's statistics load: half a second."""

import numpy as np

from scpo.arrays import FloatArray


def rank_correlation(first: FloatArray, second: FloatArray) -> float:
    """Return Spearman's correlation of two columns of N numbers, in -1..1; ties share a rank.

    NaN where one column holds a single value throughout.
    """
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: FloatArray) -> FloatArray:
    """Return the rank of each number, equal ones having the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]
