"""Spearman's rank correlation equals SciPy's, ties included."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from scpo.statistics.rank_correlation import rank_correlation


@pytest.mark.parametrize("distinct", [2, 5, 10_000])
def test_it_is_scipys(distinct: int) -> None:
    rng = np.random.default_rng(distinct)
    for size in (2, 3, 40, 500):
        first = rng.permutation(size) % distinct
        second = (first + rng.integers(0, 3, size)) % distinct
        if len(set(first)) > 1 and len(set(second)) > 1:
            expected = spearmanr(first, second).statistic
            assert rank_correlation(first, second) == pytest.approx(expected, abs=1e-12)


def test_a_column_without_order_has_none() -> None:
    assert np.isnan(rank_correlation(np.ones(3), np.arange(3.0)))
