"""Resampled curves: users and seeds drawn whole, the same for all arms, spread as it should be."""

import numpy as np
import pytest

from sweeps.curves.resampled_lines import curve_lines, resample_line
from tests.sweeps.curves.worlds import make_point, make_world, power_truth

PAIRS = [10.0, 20.0, 30.0]


def two_seeds(right_0, right_1, *, arm="full", budget=1.0, labelled=100.0):
    points = [
        make_point(arm, budget, seed, PAIRS, right, labelled=labelled)
        for seed, right in enumerate((right_0, right_1))
    ]
    mean = np.mean([right_0, right_1], axis=0)
    return [*points, make_point(arm, budget, None, PAIRS, mean, num_seeds=2, labelled=labelled)]


def test_a_line_holds_counts_by_budget_seed_and_user():
    points = two_seeds([5, 10, 15], [6, 12, 18], budget=1.0) + two_seeds(
        [4, 8, 12], [4, 8, 12], budget=0.5, labelled=50.0
    )
    (line,) = curve_lines(points)
    assert line.budgets == (0.5, 1.0)
    assert line.labelled.tolist() == [50, 100]
    assert line.correct[1, 1].tolist() == [6, 12, 18]
    assert line.accuracy == pytest.approx([24 / 60, 33 / 60])
    assert line.num_seeds.tolist() == [2, 2]


def test_a_seed_that_a_budget_lacks_is_not_counted():
    points = two_seeds([5, 10, 15], [6, 12, 18], budget=1.0)
    points += [
        make_point("full", 0.5, seed, PAIRS, [4, 8, 12], labelled=50.0) for seed in (0, None)
    ]
    (line,) = curve_lines(points)
    assert np.isnan(line.correct[0, 1]).all()
    drawn = resample_line(line, num_resamples=500)
    assert np.isfinite(drawn).all()
    assert drawn[:, 0] == pytest.approx(0.4)  # the one seed has 40 % of every user


def test_one_seed_is_a_bootstrap_of_users():
    points = [make_point("full", 1.0, seed, PAIRS, [9, 10, 6]) for seed in (0, None)]
    (line,) = curve_lines(points)
    drawn = resample_line(line, num_resamples=20_000)[:, 0]
    rng = np.random.default_rng(1)
    naive = []
    for _ in range(20_000):
        users = rng.integers(3, size=3)
        naive.append(np.take([9, 10, 6], users).sum() / np.take(PAIRS, users).sum())
    quantiles = [0.05, 0.25, 0.5, 0.75, 0.95]
    assert np.quantile(drawn, quantiles) == pytest.approx(np.quantile(naive, quantiles), abs=0.02)
    assert drawn.mean() == pytest.approx(np.mean(naive), abs=0.005)


def test_seeds_spread_as_far_as_their_variance_says():
    """Users alike, so all spread is of seeds: variance of a mean of S, unbiased."""
    rng = np.random.default_rng(0)
    share = rng.uniform(0.4, 0.6, 4)
    points = [
        make_point("full", 1.0, seed, PAIRS, share[seed] * np.array(PAIRS)) for seed in range(4)
    ]
    mean = share.mean() * np.array(PAIRS)
    points.append(make_point("full", 1.0, None, PAIRS, mean, num_seeds=4))
    drawn = resample_line(curve_lines(points)[0], num_resamples=40_000)[:, 0]
    assert drawn.mean() == pytest.approx(share.mean(), abs=1e-3)
    assert drawn.var() == pytest.approx(share.var(ddof=1) / 4, rel=0.03)


def test_arms_of_a_country_share_their_resamples():
    points = two_seeds([5, 10, 15], [6, 12, 18]) + two_seeds([6, 12, 18], [7, 14, 21], arm="scpo")
    lines = curve_lines(points)
    full, scpo = (resample_line(line, num_resamples=300, seed=5) for line in lines)
    gap = scpo - full  # every user gains a tenth of its pairs, whatever the seed
    assert gap == pytest.approx(0.1)
    assert full.std() > 0.01
    other = resample_line(lines[0], num_resamples=300, seed=6)
    assert not np.array_equal(full, other)


def test_countries_are_lines_of_their_own():
    truth = {"full": power_truth(0.2, 1.0, 0.5)}
    points = make_world(truth, (0.5, 1.0), num_users=3) + make_world(
        truth, (0.5, 1.0), num_users=3, num_seeds=2, country="Mexico"
    )
    lines = curve_lines(points)
    assert [(line.country, line.seeds) for line in lines] == [
        ("Chile", (0, 1, 2)),
        ("Mexico", (0, 1)),
    ]
