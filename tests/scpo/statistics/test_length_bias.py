from itertools import pairwise

import numpy as np
import pytest

from scpo.statistics.bootstrap import interval, widened_tail
from scpo.statistics.length_bias import length_deciles, length_share

pytestmark = pytest.mark.usefixtures("few_resamples")


def test_a_model_of_length_climbs_from_0_to_1():
    rng = np.random.default_rng(0)
    length = rng.normal(20, 100, 500).round()
    table = length_deciles(length, length, rng.integers(0, 20, 500))
    assert [row["decile"] for row in table] == list(range(1, 11))
    assert (table[0]["accuracy"], table[-1]["accuracy"]) == (0.0, 1.0)
    assert sum(row["pairs"] for row in table) == 500
    assert all(40 <= row["pairs"] <= 60 for row in table)
    assert all(one["longest"] < other["shortest"] for one, other in pairwise(table))


def test_deciles_by_hand_with_equal_lengths_together():
    length = np.array([-3.0, -3.0, -3.0, -3.0, -3.0, 0.0, 1.0, 2.0, 3.0, 4.0])
    margin = np.array([1.0, 1.0, -1.0, -1.0, 0.0, 1.0, -1.0, 1.0, 1.0, 1.0])
    table = length_deciles(margin, length, list("aabbccddee"))
    assert [(row["decile"], row["pairs"], row["accuracy"]) for row in table] == [
        (1, 5, 0.4),
        (6, 1, 1.0),
        (7, 1, 0.0),
        (8, 1, 1.0),
        (9, 1, 1.0),
        (10, 1, 1.0),
    ]
    assert (table[0]["shortest"], table[0]["longest"], table[0]["users"]) == (-3.0, -3.0, 3)
    assert table[1]["low"] is None  # one user


def cases(gain_longer, gain_shorter, *, longer=60, shorter=40, equal=0, gain_equal=0):
    """Margins of model and baseline with so many pairs gained on each side; lost where < 0."""
    length = np.repeat([1.0, -1.0, 0.0], [longer, shorter, equal])
    model, baseline = np.zeros(len(length)), np.zeros(len(length))
    starts = (0, longer, longer + shorter)
    for start, gain in zip(starts, (gain_longer, gain_shorter, gain_equal), strict=True):
        (model if gain > 0 else baseline)[start : start + abs(gain)] = 1.0
    user = np.arange(len(length)) % 7
    return length_share(model, baseline, length, user)


def test_a_gain_that_is_the_same_on_both_sides_owes_nothing_to_length():
    found = cases(30, 20)  # half of each side
    assert found["gain"] == pytest.approx(0.5)
    assert found["length_part"] == pytest.approx(0.0)
    assert (found["rest"], found["share"]) == (pytest.approx(0.5), pytest.approx(0.0))


def test_a_gain_of_length_alone_is_all_explained():
    found = cases(30, -20)  # half of the longer gained, half of the shorter lost
    assert found["gain"] == pytest.approx(0.1)
    assert found["length_part"] == pytest.approx(0.1)
    assert found["rest"] == pytest.approx(0.0, abs=1e-12)
    assert found["share"] == pytest.approx(1.0)


def test_half_by_hand():
    # w+ - w- = 0.2, g+ - g- = 0.5: 0.05 of the gain 0.3
    found = cases(30, 0)
    assert found["gain"] == pytest.approx(0.3)
    assert found["length_part"] == pytest.approx(0.05)
    assert found["share"] == pytest.approx(1 / 6)


def test_length_that_tells_nothing_explains_nothing():
    assert cases(40, -10, longer=50, shorter=50)["length_part"] == pytest.approx(0.0)


def test_equally_long_pairs_belong_to_the_rest():
    found = cases(15, -10, longer=30, shorter=20, equal=50, gain_equal=20)
    assert found["gain"] == pytest.approx(0.25)
    assert found["length_part"] == pytest.approx(0.05)
    assert found["rest"] == pytest.approx(0.2)


def test_parts_of_unlike_sign():
    found = cases(-10, 20)
    assert found["gain"] == pytest.approx(0.1)
    assert found["length_part"] < 0
    assert found["rest"] > found["gain"]
    assert cases(-30, -20)["share"] is None  # no gain, no share


def test_one_side_only_puts_nothing_down_to_length():
    found = cases(20, 0, longer=40, shorter=0)
    assert (found["gain"], found["length_part"]) == (0.5, 0.0)


def test_the_interval_is_that_of_a_naive_loop():
    rng = np.random.default_rng(3)
    length, user = rng.normal(5, 10, 80).round(), rng.integers(0, 6, 80)
    model, baseline = length + 20 * rng.normal(size=80), rng.normal(size=80)
    found = length_share(model, baseline, length, user)
    parts = []
    for draw in np.random.default_rng(0).integers(6, size=(60, 6)):
        which = np.concatenate([np.flatnonzero(user == drawn) for drawn in draw])
        gain = (model[which] > 0) * 1.0 - (baseline[which] > 0)
        above, below = length[which] > 0, length[which] < 0
        lean = gain[above].mean() - gain[below].mean()
        parts.append((above.mean() - below.mean()) * lean / 2)
    tail = widened_tail(6)
    expected = np.quantile(parts, [tail, 1 - tail])
    assert (found["length_low"], found["length_high"]) == pytest.approx(
        expected.tolist(), abs=1e-12
    )


def test_shapes_are_checked():
    match = "margin, length_difference and user must have one shape and hold a pair"
    with pytest.raises(ValueError, match=match):
        length_deciles([1.0], [1.0, 2.0], ["a", "b"])
    with pytest.raises(ValueError, match=match):
        length_deciles([], [], [])
    with pytest.raises(ValueError, match=match):
        length_share([1.0, 2.0], [1.0], [1.0, 2.0], ["a", "b"])


def test_what_is_left_beside_length_has_an_interval_of_its_own():
    """Each user gains alike on both sides or on none: the rest is the gain, whoever is drawn."""
    length, user = np.tile([1, 1, -1, -1], 6), np.repeat(list("abcdef"), 4)
    right = np.repeat([1, 1, 1, -1, 1, -1], 4)
    row = length_share(right, -np.ones(24), length, user)
    assert row["length_part"] == 0.0
    ends = interval(np.array([4.0, 4, 4, 0, 4, 0]), np.full(6, 4.0))
    assert (row["rest"], row["rest_low"], row["rest_high"]) == pytest.approx(
        (ends.value, ends.low, ends.high)
    )
    everything = length_share(length, -length, length, user)  # right for long ones, wrong before
    assert (everything["rest"], everything["rest_low"], everything["rest_high"]) == (0, 0, 0)
    assert everything["share"] is None


def test_the_rest_of_a_gain_has_the_interval_of_the_rest():
    # Gained on every pair of both sides: nothing is put down to length in any resample, so the
    # rest is the gain and surely so.
    found = cases(60, 40)
    assert found["rest"] == pytest.approx(1.0)
    assert (found["rest_low"], found["rest_high"]) == (pytest.approx(1.0), pytest.approx(1.0))
    # Of length alone: the rest is nothing, and its interval lies about 0 as that of the part
    # lies about the gain.
    only = cases(30, -20)
    assert only["rest_low"] <= 0.0 <= only["rest_high"]
    assert only["rest_high"] - only["rest_low"] < only["length_high"] - only["length_low"]


def test_no_part_of_a_gain_is_zero_without_a_sign():
    row = length_share([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [-2, -3, 4], ["a", "a", "b"])
    assert str(row["length_part"]) == "0.0"
