"""Pairs to a target and ratios: by hand, bounded where censored, and in words."""

import math

import numpy as np
import pytest

from scpo.statistics.bootstrap import widened_tail
from sweeps.curves.fitted_curves import trace_line
from sweeps.curves.pairs_to_target import (
    Reached,
    describe_ends,
    describe_pairs,
    describe_ratio,
    pairs_to_reach,
    reach_target,
)
from sweeps.curves.resampled_lines import curve_lines, resample_line
from tests.sweeps.curves.worlds import make_point, make_world, power_truth

GRID = np.array([64.0, 128.0, 256.0])


@pytest.mark.parametrize(
    ("curve", "target", "bounds"),
    [
        ([0.5, 0.6, 0.7], 0.6, (128, 128)),
        ([0.5, 0.6, 0.7], 0.65, (128 * math.sqrt(2),) * 2),  # halfway over log2 pairs
        ([0.5, 0.6, 0.7], 0.5, (0, 64)),  # the first point is there: 64 or fewer
        ([0.5, 0.6, 0.7], 0.4, (0, 64)),
        ([0.5, 0.6, 0.7], 0.71, (256, math.inf)),  # never
        ([0.5, 0.6, 0.7], 0.7, (256, 256)),
        ([0.5, 0.7, 0.7], 0.7, (128, 128)),  # first reached
        ([0.6, 0.6, 0.6], 0.6 + 1e-12, (0, 64)),  # rounding is no difference
    ],
)
def test_where_a_curve_first_reaches_a_target(curve, target, bounds):
    low, high = pairs_to_reach(GRID, np.array([curve, curve]), np.full(2, target))
    assert low.tolist() == pytest.approx([bounds[0]] * 2)
    assert high.tolist() == pytest.approx([bounds[1]] * 2)


def one_user_trace(arm, shares, labelled=(64, 128, 256)):
    points = []
    for budget, pairs, share in zip((0.25, 0.5, 1.0), labelled, shares, strict=True):
        points += [
            make_point(arm, budget, seed, [100], [100 * share], labelled=pairs)
            for seed in (0, None)
        ]
    trace = trace_line(curve_lines(points)[0], "labelled", None)
    assert trace is not None
    return trace


def test_ratio_of_two_isotonic_curves_by_hand():
    full, scpo = (
        one_user_trace(arm, shares)
        for arm, shares in (("full", (0.5, 0.6, 0.7)), ("scpo", (0.6, 0.7, 0.75)))
    )
    reached = reach_target(scpo, full, None)
    assert reached is not None
    assert reached.target == pytest.approx(0.7)  # of full with all its pairs
    assert reached.pairs == pytest.approx((128, 128))
    assert reached.ratio == pytest.approx((2, 2))
    assert (reached.ratio_ends, reached.share_reached) == (None, None)  # one user


@pytest.mark.parametrize(
    ("shares", "pairs", "ratio", "words"),
    [
        ((0.4, 0.5, 0.6), (256, math.inf), (0, 1.0), "below 1.00"),
        ((0.7, 0.75, 0.8), (0, 64), (4.0, math.inf), "above 4.00"),
    ],
)
def test_what_is_only_bounded_stays_bounded(shares, pairs, ratio, words):
    full, other = one_user_trace("full", (0.5, 0.6, 0.7)), one_user_trace("scpo", shares)
    reached = reach_target(other, full, None)
    assert reached is not None
    assert reached.pairs == pairs
    assert reached.ratio == pytest.approx(ratio)
    assert describe_ratio(reached) == words


def test_a_given_target_that_neither_reaches_says_nothing_of_the_ratio():
    full, scpo = one_user_trace("full", (0.5, 0.6, 0.7)), one_user_trace("scpo", (0.6, 0.7, 0.75))
    reached = reach_target(scpo, full, 0.9)
    assert reached is not None
    assert reached.ratio == (0, math.inf)
    assert describe_ratio(reached) == "not known"
    alone = reach_target(scpo, None, 0.7)
    assert alone is not None
    assert (alone.pairs, alone.ratio) == (pytest.approx((128, 128)), (0, math.inf))


def test_no_target_and_nothing_to_take_it_from():
    full = one_user_trace("full", (0.5, 0.6, 0.7))
    points = make_world({"scpo": power_truth(0.2, 1.0, 0.5)}, (0.25, 0.5, 1.0), num_users=4)
    others = trace_line(curve_lines(points)[0], "labelled", None)
    assert others is not None
    assert reach_target(full, None, None) is None
    assert reach_target(others, full, None) is None  # other users: no common target


def test_interval_of_the_ratio_is_that_of_naive_resamples():
    truth = {"full": power_truth(0.2, 2.0, 0.5), "scpo": power_truth(0.2, 2.0, 0.5, ratio=2)}
    points = make_world(truth, (0.0625, 0.125, 0.25, 0.5, 1.0), num_users=60)
    full, scpo = (
        trace_line(line, "labelled", resample_line(line, num_resamples=200))
        for line in curve_lines(points)
    )
    assert full is not None
    assert scpo is not None
    assert full.curves is not None
    assert scpo.curves is not None
    reached = reach_target(scpo, full, None)
    assert reached is not None
    assert reached.ratio_ends is not None
    lows, highs, num_reached = [], [], 0
    for own, base in zip(scpo.curves, full.curves, strict=True):
        pairs, paired = (naive_pairs(full.grid, curve, base[-1]) for curve in (own, base))
        lows.append(paired[0] / pairs[1])
        highs.append(paired[1] / pairs[0] if pairs[0] else math.inf)
        num_reached += math.isfinite(pairs[1])
    tail = widened_tail(60)
    assert reached.ratio_ends[0] == pytest.approx(sorted(lows)[math.floor(tail * 199)])
    assert reached.ratio_ends[1] == pytest.approx(sorted(highs)[math.ceil((1 - tail) * 199)])
    assert reached.ratio_ends[0] < reached.ratio[0] < reached.ratio_ends[1]
    assert reached.share_reached == num_reached / 200


def naive_pairs(grid, curve, target):
    """Walk along a curve to where it reaches a target."""
    if curve[0] >= target - 1e-9:
        return 0.0, grid[0]
    for place in range(1, len(grid)):
        if curve[place] >= target - 1e-9:
            share = (target - curve[place - 1]) / (curve[place] - curve[place - 1])
            pairs = grid[place - 1] * (grid[place] / grid[place - 1]) ** share
            return pairs, pairs
    return grid[-1], math.inf


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ((310.2, 310.2), "310 pairs"),
        ((0.0, 64.0), "64 pairs or fewer"),
        ((1512.0, math.inf), "more than 1,512 pairs: never reached"),
    ],
)
def test_pairs_in_words(pairs, words):
    assert describe_pairs(pairs) == words


@pytest.mark.parametrize(
    ("ratio", "ends", "words"),
    [
        ((1.65, 1.65), (1.1, 2.9), "1.65 (1.10 to 2.90)"),
        ((1.65, 1.65), (1.1, math.inf), "1.65 (at least 1.10)"),
        ((1.65, 1.65), (0.0, 2.9), "1.65 (at most 2.90)"),
        ((1.65, 1.65), (0.0, math.inf), "1.65 (no bound)"),
        ((1.65, 1.65), None, "1.65"),
        ((0.0, 0.84), (0.0, 1.2), "below 0.84 (at most 1.20)"),
        ((1.2, math.inf), (0.9, math.inf), "above 1.20 (at least 0.90)"),
        ((1.2, 3.0), None, "between 1.20 and 3.00"),
        ((0.0, math.inf), (0.0, math.inf), "not known"),
        ((0.0, math.inf), (0.5, math.inf), "not known (at least 0.50)"),
    ],
)
def test_ratios_in_words(ratio, ends, words):
    assert describe_ratio(Reached(0.7, (1, 1), ratio, ends, 0.5)) == words


def test_ends_in_words():
    assert describe_ends((0.0, math.inf)) == "no bound"
    assert describe_ends((0.5, 2.0)) == "0.50 to 2.00"
