import math

import numpy as np
import pytest
from scipy.stats import norm, t

from scpo.statistics.bootstrap import (
    bootstrap_by_user,
    divide_draws,
    jackknife_ends,
    quantile_ends,
    resample_sums,
    sum_by_user,
    widened_tail,
)


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    user = rng.choice(["b", "a", "d", "c", "e"], 60)
    return (rng.random((2, 60)) < 0.6).astype(float), user


def test_sums_are_those_of_a_loop(pairs):
    values, user = pairs
    expected = [
        [sum(v for v, u in zip(row, user, strict=True) if u == name) for name in "abcde"]
        for row in values
    ]
    np.testing.assert_array_equal(sum_by_user(values, user), expected)


def test_the_plain_percentile_is_that_of_a_loop_over_the_users_drawn(pairs):
    values, user = pairs
    sums = sum_by_user([values[0], np.ones(60)], user)
    drawn = resample_sums(sums, num_resamples=200, seed=3)
    ends = np.quantile(divide_draws(drawn[:, 0], drawn[:, 1]), [0.025, 0.975]).tolist()
    means = []
    for draw in np.random.default_rng(3).integers(5, size=(200, 5)):
        names = ["abcde"[number] for number in draw]
        means.append(np.mean([v for n in names for v in values[0][user == n]]))
    assert ends == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist(), abs=1e-12)


def test_many_draws_give_the_interval_of_the_metrics(pairs):
    values, user = pairs
    sums = sum_by_user([values[0], np.ones(60)], user)
    drawn = resample_sums(sums, num_resamples=40_000)
    ends = quantile_ends(divide_draws(drawn[:, 0], drawn[:, 1]), 5)
    expected = bootstrap_by_user(values[0], user, num_resamples=40_000)
    assert ends == pytest.approx(expected, abs=0.01)


def test_memory_in_parts_gives_the_same_draws(pairs, monkeypatch):
    values, user = pairs
    sums = sum_by_user(values, user)
    whole = resample_sums(sums, num_resamples=97, seed=1)
    monkeypatch.setattr("scpo.statistics.bootstrap.COUNTS_AT_ONCE", 50)  # 10 resamples of 5 users
    np.testing.assert_array_equal(resample_sums(sums, num_resamples=97, seed=1), whole)


def test_the_widened_tail_by_its_formula():
    for users in (2, 3, 8, 200):
        expected = norm.cdf(-t.ppf(0.975, users - 1) * math.sqrt(users / (users - 1)))
        assert widened_tail(users) == pytest.approx(expected, rel=1e-12)
    assert widened_tail(5) == pytest.approx(0.00095, abs=5e-6)
    assert widened_tail(100_000) == pytest.approx(0.025, abs=1e-5)
    assert widened_tail(50, level=0.5) == pytest.approx(0.25, abs=0.01)
    with pytest.raises(ValueError, match="`users >= 2` must hold for an interval, but got 1"):
        widened_tail(1)


def test_few_users_widen_the_interval():
    drawn = np.random.default_rng(0).normal(size=10_000)
    plain = tuple(np.quantile(drawn, [0.025, 0.975]))
    few, many = quantile_ends(drawn, 6), quantile_ends(drawn, 500)
    assert few[0] < many[0] <= plain[0]
    assert few[1] > many[1] >= plain[1]
    assert many == pytest.approx(plain, abs=0.02)


def test_no_ends_without_two_users_or_without_pairs():
    assert quantile_ends(np.zeros(10), 1) == (None, None)
    assert quantile_ends(np.full(10, np.nan), 5) == (None, None)
    assert quantile_ends(np.array([np.nan, 1.0, 1.0]), 5) == (1.0, 1.0)


def test_a_resample_without_pairs_is_no_number():
    divided = divide_draws(np.array([1.0, 2.0]), np.array([0.0, 4.0]))
    assert np.isnan(divided[0])
    assert divided[1] == 0.5


def naive_jackknife(totals, counts):
    whole = sum(totals) / sum(counts)
    without = []
    for left_out in range(len(totals)):
        kept = [n for n in range(len(totals)) if n != left_out]
        without.append(sum(totals[n] for n in kept) / sum(counts[n] for n in kept))
    users = len(totals)
    variance = (users - 1) / users * sum((value - whole) ** 2 for value in without)
    reach = t.ppf(0.975, users - 1) * math.sqrt(variance)
    return whole - reach, whole + reach


def test_the_jackknife_is_that_of_a_loop(pairs):
    totals, counts = sum_by_user([pairs[0][0], np.ones(60)], pairs[1])
    expected = naive_jackknife(totals.tolist(), counts.tolist())
    assert jackknife_ends(totals, counts) == pytest.approx(expected, abs=1e-12)
    with_empty = jackknife_ends(np.append(totals, 0.0), np.append(counts, 0.0))
    assert with_empty == pytest.approx(expected, abs=1e-12)
    assert jackknife_ends(totals[:1], counts[:1]) == (None, None)


def test_the_jackknife_of_equal_users_is_students_interval_of_a_mean():
    shares = np.array([0.2, 0.5, 0.9, 0.6])
    low, high = jackknife_ends(10 * shares, np.full(4, 10.0))
    reach = t.ppf(0.975, 3) * shares.std(ddof=1) / 2
    assert (low, high) == pytest.approx((shares.mean() - reach, shares.mean() + reach))


def test_shapes_and_users_must_fit():
    with pytest.raises(ValueError, match=r"values must be \(S, P\) and user \(P,\), but got"):
        sum_by_user([1.0, 2.0], ["a", "b"])
    with pytest.raises(ValueError, match=r"values must be \(S, P\)"):
        sum_by_user([[1.0, 2.0]], ["a"])
    with pytest.raises(ValueError, match="`users >= 1` must hold for a resample"):
        resample_sums(np.zeros((1, 0)))


def test_coverage_with_few_users():
    """200 worlds of 8 users: the plain percentile is too narrow, the widened one nearly holds.

    The truth is the ratio of expectations; a user's number of pairs varies. The figures of many
    more worlds are `tests/benchmarks/bench_coverage.py`'s.
    """
    hits = {"plain": 0, "widened": 0, "jackknife": 0}
    rng = np.random.default_rng(5)
    for world in range(200):
        counts = 1.0 + rng.poisson(20, 8)
        right = rng.binomial(counts.astype(int), rng.beta(9, 6, 8)).astype(float)
        drawn = resample_sums(np.stack([right, counts]), num_resamples=1000, seed=world)
        shares = divide_draws(drawn[:, 0], drawn[:, 1])
        for name, (low, high) in {
            "plain": np.quantile(shares, [0.025, 0.975]),
            "widened": quantile_ends(shares, 8),
            "jackknife": jackknife_ends(right, counts),
        }.items():
            hits[name] += low <= 0.6 <= high
    assert hits["plain"] / 200 < 0.92
    assert 0.92 <= hits["widened"] / 200 <= 0.98
    assert 0.92 <= hits["jackknife"] / 200 <= 0.98
