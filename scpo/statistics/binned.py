"""Pairs in bins: how many are right in each, with intervals from one set of resamples.

Legend: P pairs.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from scpo.arrays import BoolArray, FloatArray, IntArray
from scpo.statistics.bootstrap import (
    Interval,
    divide_draws,
    drawn_interval,
    resample_sums,
    sum_by_user,
)


def same_rank_bins(values: FloatArray, num_bins: int) -> IntArray:
    """Return the bin of equal mass of each value, 0 for the lowest; equal values share one."""
    rank = np.searchsorted(np.sort(values), values, side="left")
    return np.asarray(rank * num_bins // len(values), dtype=np.int64)


def binned_intervals(
    right: FloatArray, bins: IntArray, user: ArrayLike
) -> Iterator[tuple[int, BoolArray, Interval]]:
    """Yield each bin that holds a pair: its number, which pairs, and the mean of `right` there.

    `right` is 1 for a right pair and 0 for a wrong one; it, the bin and the user of each pair are
    of shape (P,).

    Raises:
        ValueError: Shapes differ, or there is no pair.
    """
    numbers = np.unique(bins)
    inside = numbers[:, None] == bins
    sums = sum_by_user([*(inside * right), *inside], user)
    drawn = resample_sums(sums)
    shares = divide_draws(drawn[:, : len(numbers)], drawn[:, len(numbers) :])
    num_users = np.count_nonzero(sums[len(numbers) :], axis=1).tolist()
    for row, number in enumerate(numbers.tolist()):
        value = float(right[inside[row]].mean())
        yield number, inside[row], drawn_interval(value, shares[:, row], num_users[row])
