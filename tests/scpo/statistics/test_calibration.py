import math

import numpy as np
import pytest
from scipy.special import expit

from scpo.statistics.bootstrap import intervals, sum_by_user
from scpo.statistics.calibration import calibration, reliability_table


def both_orders(margin):
    """Each pair twice: (probability that the first of the two is chosen, whether it was)."""
    points = []
    for m in margin:
        points.append((1 / (1 + math.exp(-m)), 1))
        points.append((1 / (1 + math.exp(m)), 0))
    return points


def naive_ece(points, bin_of):
    bins = {}
    for p, y in points:
        bins.setdefault(bin_of(p), []).append((p, y))
    error = 0.0
    for inside in bins.values():
        share = sum(y for _, y in inside) / len(inside)
        mean = sum(p for p, _ in inside) / len(inside)
        error += len(inside) / len(points) * abs(share - mean)
    return error


@pytest.fixture
def margins():
    margin = np.random.default_rng(0).normal(0.4, 1.5, 400)
    margin[:7] = 0.0
    return margin


pytestmark = pytest.mark.usefixtures("few_resamples")


def test_scores_are_those_of_a_loop_over_both_orders(margins):
    found = calibration(margins)
    points = both_orders(margins)
    # 20 bins over 0..1 are 10 bins over the confidences, seen from either side
    width = naive_ece(points, lambda p: min(int(p * 20), 19))
    assert found["ece_width"] == pytest.approx(width, abs=1e-9)
    brier = sum((p - y) ** 2 for p, y in points) / len(points)
    nll = -sum(math.log(p if y else 1 - p) for p, y in points) / len(points)
    assert found["brier"] == pytest.approx(brier, abs=1e-9)
    assert found["nll"] == pytest.approx(nll, abs=1e-9)
    assert found["right"] == pytest.approx((np.sum(margins > 0) + 3.5) / 400)
    assert (found["pairs"], found["ties"]) == (400, 7)


def test_equal_mass_by_a_loop(margins):
    confidences = [max(p, 1 - p) for p, y in both_orders(margins) if y]
    rights = [0.5 if m == 0 else float(m > 0) for m in margins]
    sums = {}
    for c, right in zip(confidences, rights, strict=True):
        number = sum(other < c for other in confidences) * 10 // len(confidences)
        sums[number] = sums.get(number, 0.0) + right - c
    expected = sum(abs(gap) for gap in sums.values()) / len(rights)
    assert calibration(margins)["ece_mass"] == pytest.approx(expected, abs=1e-9)


def test_by_hand():
    # confidences 0.75 and 0.75; one right, one wrong
    found = calibration([math.log(3), -math.log(3)])
    assert found["ece_width"] == found["ece_mass"] == pytest.approx(0.25)
    assert found["brier"] == pytest.approx((0.25**2 + 0.75**2) / 2)
    assert found["nll"] == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)
    only_ties = calibration(np.zeros(4))
    assert only_ties["ece_width"] == 0.0
    assert only_ties["brier"] == 0.25
    assert only_ties["nll"] == pytest.approx(math.log(2))


def test_the_order_of_a_pair_does_not_matter_and_what_was_chosen_does(margins):
    found, mirrored = calibration(margins), calibration(-margins)
    assert found["confidence"] == mirrored["confidence"]
    assert found["right"] == pytest.approx(1 - mirrored["right"])


def test_a_calibrated_model_has_the_error_that_chance_gives():
    rng = np.random.default_rng(1)
    size = rng.gamma(1.0, 1.0, 3000)
    margin = np.where(rng.random(3000) < expit(size), size, -size)
    found = calibration(margin)
    assert found["ece_width"] < 2 * found["ece_if_calibrated"] < 0.05
    assert calibration(4 * margin)["ece_width"] > 5 * found["ece_if_calibrated"]
    assert calibration(margin[:60])["ece_if_calibrated"] > 2 * found["ece_if_calibrated"]


def test_extreme_margins_stay_finite():
    found = calibration([-1e4, 1e4])
    assert found["nll"] == pytest.approx(5000.0)
    assert found["brier"] == 0.5


def test_the_table_holds_every_pair_once(margins):
    user = np.random.default_rng(2).integers(0, 9, len(margins))
    table = reliability_table(margins, user)
    assert sum(row["pairs"] for row in table) == len(margins)
    assert all(row["lowest"] <= row["confidence"] <= row["highest"] for row in table)
    assert [row["lowest"] for row in table] == sorted(row["lowest"] for row in table)
    error = sum(row["pairs"] * abs(row["right"] - row["confidence"]) for row in table) / len(
        margins
    )
    assert error == pytest.approx(calibration(margins)["ece_width"])
    assert all(row["low"] <= row["right"] <= row["high"] for row in table)


def test_equal_width_edges():
    table = reliability_table([3.0, 0.0, -8.0], ["a", "b", "b"])
    assert [(row["lowest"], row["highest"]) for row in table] == [
        pytest.approx((0.5, 0.55)),
        pytest.approx((0.95, 1.0)),
    ]
    assert [row["right"] for row in table] == [0.5, 0.5]
    assert (table[0]["low"], table[0]["users"]) == (None, 1)


def test_intervals_are_those_of_a_bootstrap_by_user_where_all_users_are_in_the_bin():
    rng = np.random.default_rng(3)
    margin = np.where(rng.random(40) < 0.6, 1.0, -1.0)  # all of one confidence
    user = rng.integers(0, 5, 40)
    (row,) = reliability_table(margin, user)
    right, pairs = sum_by_user([margin > 0, np.ones(40)], user)
    (plain,) = intervals(right[None], pairs, num_resamples=10_000)
    assert (row["low"], row["high"]) == pytest.approx((plain.low, plain.high), abs=0.1)


def test_what_cannot_be_judged_is_refused():
    for margin in ([], [[1.0]], [1.0, math.nan]):
        with pytest.raises(ValueError, match=r"Margins must be of shape \(P,\), P >= 1, and"):
            calibration(margin)
    with pytest.raises(ValueError, match="values must be"):
        reliability_table([1.0, 2.0], ["a"])
