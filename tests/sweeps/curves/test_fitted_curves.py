"""Areas, grids and traces: trapezoids by hand, paired gains, what has no second size."""

import numpy as np
import pytest

from scpo.statistics.bootstrap import Interval
from sweeps.curves.fitted_curves import (
    area_gain,
    area_interval,
    area_under_curve,
    fit_weights,
    layer_area,
    pair_grid,
    trace_line,
)
from sweeps.curves.resampled_lines import curve_lines, resample_line
from tests.sweeps.curves.worlds import make_point, make_world, power_truth

BUDGETS = (0.125, 0.25, 0.5, 1.0)


@pytest.fixture(scope="module")
def points():
    truth = {"full": power_truth(0.2, 1.5, 0.5), "scpo": power_truth(0.2, 1.5, 0.5, ratio=3)}
    return make_world(truth, BUDGETS, kept={"scpo": 0.5})


def traced(points, axis="labelled", num_resamples=400):
    lines = curve_lines(points)
    found = [trace_line(x, axis, resample_line(x, num_resamples=num_resamples)) for x in lines]
    assert all(trace is not None for trace in found)
    return found


def test_area_by_hand():
    # over log2 pairs: 1 wide at a mean of 0.55, 2 wide at 0.7
    area = area_under_curve(np.array([32.0, 64, 256]), np.array([0.5, 0.6, 0.8]))
    assert area == pytest.approx((0.55 + 2 * 0.7) / 3)
    rows = area_under_curve(np.array([32.0, 64]), np.array([[0.5, 0.5], [0.2, 0.4]]))
    assert rows.tolist() == pytest.approx([0.5, 0.3])


def test_area_of_an_arm_and_its_ends(points):
    (full, scpo) = traced(points)
    area = area_interval(full)
    means = [p for p in points if p.arm == "full" and p.seed is None]
    accuracy = np.array([p.accuracy.value for p in means])
    assert area.value == pytest.approx(
        (accuracy[0] / 2 + accuracy[1] + accuracy[2] + accuracy[3] / 2) / 3
    )
    assert area.low < area.value < area.high
    gain = area_gain(scpo, full)
    assert gain.value == pytest.approx(area_interval(scpo).value - area.value)
    assert 0 < gain.low < gain.value < gain.high
    assert gain.high - gain.low < 0.7 * (area.high - area.low)  # paired: hard users cancel


def test_no_gain_against_itself_other_pairs_or_other_users(points):
    full, _ = traced(points)
    fewer = traced([p for p in points if p.arm == "scpo"], axis="trained")[0]
    other = traced(make_world({"scpo": power_truth(0.2, 1, 0.5)}, BUDGETS, num_users=5))[0]
    for own, base in ((full, full), (full, None), (fewer, full), (other, full)):
        assert area_gain(own, base).value is None


def test_one_user_has_areas_without_ends():
    points = [
        make_point(arm, budget, seed, [50], [50 * share], labelled=100 * budget)
        for arm, shares in (("full", (0.5, 0.6)), ("scpo", (0.6, 0.8)))
        for budget, share in zip((0.5, 1.0), shares, strict=True)
        for seed in (0, None)
    ]
    full, scpo = (trace_line(line, "labelled", None) for line in curve_lines(points))
    assert area_interval(scpo) == Interval(pytest.approx(0.7), None, None, 1)
    assert area_gain(scpo, full) == Interval(pytest.approx(0.15), None, None, 1)


def test_one_size_is_no_curve():
    points = [
        make_point("random_k", budget, seed, [5, 5], [3, 4], labelled=100 * budget, trained=20)
        for budget in (0.5, 1.0)
        for seed in (0, None)
    ]
    (line,) = curve_lines(points)
    drawn = resample_line(line, num_resamples=10)
    assert trace_line(line, "trained", drawn) is None
    assert trace_line(line, "labelled", drawn) is not None


def test_points_of_one_size_are_averaged():
    points = []
    for budget, trained, right in ((0.25, 20, 4), (0.5, 40, 5), (1.0, 40, 7)):
        points += [
            make_point("scpo", budget, seed, [5, 5], [right / 2] * 2, trained=trained)
            for seed in (0, None)
        ]
    (line,) = curve_lines(points)
    trace = trace_line(line, "trained", resample_line(line, num_resamples=50))
    assert trace.sizes.tolist() == [20, 40]
    weights = fit_weights(line.accuracy, 10.0)[1:]
    assert trace.accuracy == pytest.approx([0.4, np.average([0.5, 0.7], weights=weights)])
    assert trace.drawn.shape == (50, 2)


def test_weights_are_inverse_variances_and_finite():
    weights = fit_weights(np.array([0.5, 0.9, 1.0, 0.0]), 100.0)
    assert weights == pytest.approx([4, 1 / 0.09, 1 / (0.99 * 0.01), 1 / (0.01 * 0.99)])


def test_grid_is_even_over_log_pairs_and_holds_the_sizes():
    grid = pair_grid(np.array([10.0, 37.0, 640.0]))
    assert {10.0, 37.0, 640.0} <= set(grid.tolist())
    assert len(grid) == 130
    assert np.all(np.diff(grid) > 0)


def test_the_band_of_a_curve_holds_its_truth():
    """Of 40 worlds a 95 % band misses 2 at one number of pairs; 7 and more would be 1 in 200."""
    truth = power_truth(0.2, 1.5, 0.5)
    held = np.zeros(3)
    for world in range(40):
        points = make_world({"full": truth}, BUDGETS, seed=world, num_users=20)
        (trace,) = traced(points, num_resamples=200)
        low, high = np.quantile(trace.curves, [0.016, 0.984], axis=0)  # widened for 20 users
        assert np.all((low <= trace.curve[0]) & (trace.curve[0] <= high))
        at = np.searchsorted(trace.grid, [125, 400, 1000])
        true = [truth(pairs) for pairs in trace.grid[at]]
        held += (low[at] < true) & (true < high[at])
    assert np.all(held >= 34)


def test_one_seed_gets_its_order_of_pairs_from_the_scatter():
    """Six points three parameters: what a smooth curve leaves over widens the draws."""
    rough = [0.50, 0.62, 0.58, 0.70, 0.66, 0.76, 0.72]
    smooth = 0.48 + 0.04 * np.arange(7)
    spread = []
    for shares in (rough, smooth):
        points = [
            make_point("full", 2.0**-k, seed, [100] * 8, [100 * share] * 8, labelled=512 / 2**k)
            for k, share in zip(range(6, -1, -1), shares, strict=True)
            for seed in (0, None)
        ]
        (line,) = curve_lines(points)
        spread.append(
            trace_line(line, "labelled", resample_line(line, num_resamples=300)).drawn.std(0)
        )
    assert np.all(spread[0] > 0.015)  # the users are alike: nothing else spreads
    assert np.all(spread[1] < 1e-6)


def test_area_of_a_layer():
    points = [
        make_point("full", budget, None, [5, 5], [3, 4], labelled=100 * budget, distinctive=share)
        for budget, share in ((0.25, 0.2), (0.5, None), (1.0, 0.4))
    ]
    assert layer_area(points, "labelled", "distinctive") == pytest.approx(0.3)
    assert layer_area(points[:2], "labelled", "distinctive") is None  # one point is left
    assert layer_area(points, "labelled", "consensus") == pytest.approx(0.9)
