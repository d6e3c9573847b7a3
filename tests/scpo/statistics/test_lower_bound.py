"""The rule against sums written out user by user, its corners, and how often noise passes it."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from scpo.statistics.bootstrap import interval
from scpo.statistics.lower_bound import (
    choose_over_base,
    lower_bounds,
    means_by_user,
    student_ends,
    users_needed,
)

PAIRS = np.array([4.0, 6.0, 2.0])


def naive(ours, theirs, pairs, caution):
    gains = [a - b for a, b in zip(ours, theirs, strict=True)]
    total, users = sum(pairs), len(pairs)
    gain = sum(gains) / total
    squares = sum((g - gain * n) ** 2 for g, n in zip(gains, pairs, strict=True))
    return gain - caution * math.sqrt(users / (users - 1) * squares / total**2)


def test_bounds_by_hand() -> None:
    # gains 2, 1, 0 of 4, 6, 2 pairs: G = 1/4; g - G n = 1, -1/2, -1/2;
    # SE^2 = 3/2 * 3/2 / 144 = 1/64
    means, errors = means_by_user([[2.0, 1.0, 0.0]], PAIRS)
    assert (means[0], errors[0]) == pytest.approx((1 / 4, 1 / 8))
    (bound,) = lower_bounds([[4, 4, 1]], [2, 3, 1], PAIRS, caution=1.0)
    assert bound == pytest.approx(1 / 8)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 1.0, 1.645]))
def test_bounds_are_those_of_a_loop(seed: int, caution: float) -> None:
    rng = np.random.default_rng(seed)
    pairs = rng.integers(1, 9, 7)
    right = rng.binomial(pairs, 0.6, (6, 7))
    bounds = lower_bounds(right, right[0], pairs, caution=caution)
    for row in range(6):
        if np.array_equal((right[row] - right[0]) * pairs[0], (right[row] - right[0])[0] * pairs):
            assert bounds[row] == -np.inf  # every user gains alike: no error to tell by
        else:
            assert bounds[row] == pytest.approx(naive(right[row], right[0], pairs, caution))


def test_the_best_bound_is_chosen_and_not_the_best_mean() -> None:
    base = [5.0] * 6
    lucky, sure = [10, 10, 10, 0, 5, 5], [6, 6, 6, 5, 6, 6]  # +10 and +5 pairs
    lucky[4] = 9
    rows, pairs = [lucky, sure], np.full(6, 10.0)
    assert means_by_user(np.array(rows) - base, pairs)[0].argmax() == 0
    assert choose_over_base(rows, base, pairs) == 1
    assert choose_over_base(rows, base, pairs, allowed=np.array([True, False])) is None
    assert choose_over_base(rows, base, pairs, caution=0.0) == 0
    assert choose_over_base([sure, sure], base, pairs) == 0  # of equal ones the first


def test_infinite_caution_one_user_and_no_setting_keep_the_base() -> None:
    right, base, pairs = [[9.0, 8.0, 9.0]], [1.0, 2.0, 1.0], np.full(3, 10.0)
    assert choose_over_base(right, base, pairs) == 0
    assert choose_over_base(right, base, pairs, caution=math.inf) is None
    assert choose_over_base([[9.0]], [1.0], [10.0]) is None
    assert choose_over_base(np.zeros((0, 3)), base, pairs) is None
    assert choose_over_base([base], base, pairs) is None  # SE = 0


def test_users_without_pairs_count_for_nothing() -> None:
    few = lower_bounds([[3, 2]], [1, 1], [4, 5])
    assert lower_bounds([[3, 0, 2]], [1, 0, 1], [4, 0, 5]) == pytest.approx(few)


def test_noise_passes_one_time_in_twenty_for_one_setting() -> None:
    rng = np.random.default_rng(0)
    pairs = np.full(60, 10.0)
    base, ours = rng.binomial(10, 0.6, (2, 3000, 60))
    passed = [
        choose_over_base(a[None], b, pairs) is not None for a, b in zip(ours, base, strict=True)
    ]
    assert np.mean(passed) == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize(
    ("right", "base", "pairs", "caution", "words"),
    [
        ([[1.0]], [1.0], [2.0], -1.0, "`caution >= 0` must hold"),
        ([[1.0]], [1.0], [2.0], math.nan, "`caution >= 0` must hold"),
        ([[3.0]], [1.0], [2.0], 1.0, "`0 <= right <= pairs` must hold"),
        ([[1.0]], [-1.0], [2.0], 1.0, "`0 <= right <= pairs` must hold"),
        ([[math.nan]], [1.0], [2.0], 1.0, "`0 <= right <= pairs` must hold"),
        ([[1.0, 1.0]], [1.0], [2.0], 1.0, r"right must be \(S, U\)"),
        ([[0.0]], [0.0], [0.0], 1.0, "At least one user must have pairs"),
    ],
)
def test_what_cannot_be_judged_is_refused(right, base, pairs, caution, words) -> None:
    with pytest.raises(ValueError, match=words):
        lower_bounds(right, base, pairs, caution=caution)


def test_totals_that_fit_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"totals must be \(S, U\)"):
        means_by_user([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="must be finite"):
        means_by_user([[math.inf]], [1.0])


def test_student_ends_lie_near_the_bootstrap() -> None:
    rng = np.random.default_rng(3)
    pairs = rng.integers(5, 15, 40).astype(float)
    lost = rng.binomial(pairs.astype(int), 0.2).astype(float)
    low, high = student_ends([lost], pairs)
    figure = interval(lost, pairs)
    assert (low[0], high[0]) == pytest.approx((figure.low, figure.high), abs=0.01)
    low, high = student_ends([[1.0]], [4.0])
    assert (low[0], high[0]) == (-math.inf, math.inf)


def test_users_needed_by_hand() -> None:
    # (1.96 + 0.842)^2 = 7.849: an error of 1 point with 100 users shows 1 point with 785
    assert users_needed(0.01, error=0.01, num_users=100) == 785
    assert users_needed(0.03, error=0.01, num_users=100) == 88
    with pytest.raises(ValueError, match="`difference > 0`"):
        users_needed(0.0, error=0.01, num_users=100)


def test_two_hundred_settings_of_two_hundred_users_take_a_tenth_of_a_second() -> None:
    rng = np.random.default_rng(0)
    right, pairs = rng.binomial(10, 0.6, (200, 200)), np.full(200, 10)
    started = time.process_time()
    choose_over_base(right, right[0], pairs)
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize("num_users", [2, 3, 5])
def test_student_ends_of_equal_users_are_those_of_their_mean(num_users: int) -> None:
    shares = np.random.default_rng(num_users).random(num_users)
    pairs = np.append(np.full(num_users, 4.0), 0.0)  # the last judges nothing
    low, high = student_ends([[*(4 * shares), 0.0]], pairs)
    expected = t.interval(
        0.95, num_users - 1, shares.mean(), shares.std(ddof=1) / math.sqrt(num_users)
    )
    assert (float(low[0]), float(high[0])) == pytest.approx(expected)


def test_one_user_or_no_error_needs_two_users() -> None:
    assert users_needed(0.1, error=0.0, num_users=1) == 2
    with pytest.raises(ValueError, match="num_users > 0"):
        users_needed(0.1, error=0.1, num_users=0)


def test_a_bound_of_nothing_is_no_gain() -> None:
    assert choose_over_base([[3.0, 1.0]], [1.0, 3.0], [4.0, 4.0], caution=0.0) is None


def test_means_over_deals_that_round_are_what_they_stand_for() -> None:
    """A gain alike for all users has no error, and all right pairs are no more than all."""
    pairs, base = np.array([3.0, 7.0, 10.0, 9.0]), np.array([1.0, 3.0, 4.0, 2.0])
    alike = base + 0.1 * pairs
    assert np.ptp((alike - base) / pairs) > 0  # by rounding
    assert means_by_user((alike - base)[None], pairs)[1].tolist() == [0.0]
    assert lower_bounds(alike[None], base, pairs).tolist() == [-np.inf]
    whole = np.array([0.1 * 3 * 10, 7.0, 10.0, 9.0])
    assert whole[0] > pairs[0]  # by rounding
    assert np.isfinite(lower_bounds(whole[None], base, pairs)).all()
