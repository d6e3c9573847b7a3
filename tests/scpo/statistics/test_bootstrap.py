import math

import numpy as np
import pytest
from scipy.stats import norm, t

from scpo.statistics import bootstrap
from scpo.statistics.bootstrap import (
    Interval,
    divide_draws,
    drawn_interval,
    interval,
    intervals,
    jackknife_interval,
    read_interval,
    resample_sums,
    sum_by_user,
    widened_tail,
)


def ends(found):
    return found.low, found.high


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
    plain = np.quantile(divide_draws(drawn[:, 0], drawn[:, 1]), [0.025, 0.975]).tolist()
    means = []
    for draw in np.random.default_rng(3).integers(5, size=(200, 5)):
        names = ["abcde"[number] for number in draw]
        means.append(np.mean([v for n in names for v in values[0][user == n]]))
    assert plain == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist(), abs=1e-12)


def test_many_draws_give_the_interval_of_the_metrics(pairs):
    values, user = pairs
    sums = sum_by_user([values[0], np.ones(60)], user)
    drawn = resample_sums(sums, num_resamples=40_000)
    found = drawn_interval(0.5, divide_draws(drawn[:, 0], drawn[:, 1]), 5)
    (expected,) = intervals(sums[:1], sums[1], num_resamples=40_000)
    assert ends(found) == pytest.approx(ends(expected), abs=0.01)


def test_the_same_users_get_the_same_interval_in_any_order_and_company():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 9, 40).astype(float)
    totals = rng.binomial(counts.astype(int), 0.6, (3, 40)).astype(float)
    alone = [interval(row, counts) for row in totals]
    order = rng.permutation(40)
    assert intervals(totals[:, order], counts[order]) == alone
    with_empty = intervals(np.insert(totals, 7, 0.0, axis=1), np.insert(counts, 7, 0.0))
    assert with_empty == alone


def test_a_difference_that_all_users_share_has_no_spread():
    counts = np.array([2.0, 4.0, 6.0])
    found = intervals(np.array([counts / 2, counts]), counts, num_resamples=100)
    assert found == [Interval(0.5, 0.5, 0.5, 3), Interval(1.0, 1.0, 1.0, 3)]


def test_without_two_users_or_without_pairs():
    assert interval(np.array([3.0]), np.array([4.0])) == Interval(0.75, None, None, 1)
    assert interval(np.empty(0), np.empty(0)) == Interval(None, None, None, 0)


def test_which_side_of_0_an_interval_lies_on():
    cases = [(0.1, 0.2, 1), (-0.2, -0.1, -1), (-0.1, 0.1, 0), (0.0, 0.1, 0), (None, None, 0)]
    for low, high, sign in cases:
        assert Interval(0.0, low, high, 9).sign == sign


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
    with pytest.raises(ValueError, match="`users >= 2` must hold for an interval, but got 1"):
        widened_tail(1)


def test_few_users_widen_the_interval():
    drawn = np.random.default_rng(0).normal(size=10_000)
    plain = tuple(np.quantile(drawn, [0.025, 0.975]))
    few, many = (ends(drawn_interval(0.0, drawn, users)) for users in (6, 500))
    assert few[0] < many[0] <= plain[0]
    assert few[1] > many[1] >= plain[1]
    assert many == pytest.approx(plain, abs=0.02)


def test_no_ends_without_two_users_or_without_pairs():
    assert drawn_interval(0.0, np.zeros(10), 1) == Interval(0.0, None, None, 1)
    assert drawn_interval(1.0, np.full(10, np.nan), 5) == Interval(1.0, None, None, 5)
    assert drawn_interval(1.0, np.array([np.nan, 1.0, 1.0]), 5) == Interval(1.0, 1.0, 1.0, 5)


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
    found = jackknife_interval(totals, counts)
    assert ends(found) == pytest.approx(expected, abs=1e-12)
    assert found.value == pytest.approx(pairs[0][0].mean())
    assert jackknife_interval(np.append(totals, 0.0), np.append(counts, 0.0)) == found
    assert ends(jackknife_interval(totals[:1], counts[:1])) == (None, None)
    assert jackknife_interval(np.empty(0), np.empty(0)) == Interval(None, None, None, 0)


def test_the_jackknife_of_equal_users_is_students_interval_of_a_mean():
    shares = np.array([0.2, 0.5, 0.9, 0.6])
    low, high = ends(jackknife_interval(10 * shares, np.full(4, 10.0)))
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
            "widened": ends(drawn_interval(0.6, shares, 8)),
            "jackknife": ends(jackknife_interval(right, counts)),
        }.items():
            hits[name] += low <= 0.6 <= high
    assert hits["plain"] / 200 < 0.92
    assert 0.92 <= hits["widened"] / 200 <= 0.98
    assert 0.92 <= hits["jackknife"] / 200 <= 0.98


def test_many_statistics_at_once_are_those_of_each_alone(monkeypatch):
    totals = np.random.default_rng(1).integers(0, 9, size=(7, 6)).astype(float)
    pairs = np.full(6, 9.0)
    alone = [interval(row, pairs) for row in totals]
    monkeypatch.setattr(bootstrap, "ROWS_AT_ONCE", 2)
    assert intervals(totals, pairs) == alone


@pytest.mark.parametrize(("kept", "at_once"), [(0, 60), (10**9, 60), (0, 10**9), (0, 1)])
def test_draws_are_the_same_kept_or_not_and_in_blocks_of_any_size(monkeypatch, kept, at_once):
    sums = np.random.default_rng(2).integers(9, size=(3, 5)).astype(float)
    expected = resample_sums(sums, num_resamples=101, seed=4)
    bootstrap._kept_resamples.cache_clear()
    monkeypatch.setattr(bootstrap, "COUNTS_KEPT", kept)
    monkeypatch.setattr(bootstrap, "COUNTS_AT_ONCE", at_once)
    np.testing.assert_array_equal(resample_sums(sums, num_resamples=101, seed=4), expected)
    bootstrap._kept_resamples.cache_clear()
    assert resample_sums(np.ones((1, 1)), num_resamples=3).tolist() == [[1.0]] * 3


def test_an_interval_is_read_as_it_was_written():
    for found in (Interval(0.5, 0.4, 0.6, 7), Interval(None, None, None, 0)):
        row = found.columns("gain", "gain_") | {"users": found.users}
        assert read_interval(row, "gain", "gain_") == found
    assert read_interval({"gain": 1, "low": None, "high": None}, "gain").users == 0
