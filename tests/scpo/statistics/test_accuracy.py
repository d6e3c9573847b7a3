import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpo.statistics.accuracy import (
    LAYERS,
    counts_by_user,
    layer_accuracies,
    pair_accuracy,
    split_layers,
)
from scpo.statistics.bootstrap import Interval, draw_users, intervals, sum_by_user, widened_tail


def ends_by_user(correct, user, **settings):
    right, pairs = sum_by_user([correct, np.ones(len(user))], user)
    (figure,) = intervals(right[None], pairs, **settings)
    return figure.low, figure.high


def layered(margin, reference, user):
    return layer_accuracies({"model": margin}, reference, user)["model"]


def naive_interval(correct, user, *, num_resamples, seed):
    """Draw how often each user comes, then average every pair so many times, in plain loops."""
    names = sorted(
        set(user),
        key=lambda name: (
            user.count(name),
            sum(c for c, u in zip(correct, user, strict=True) if u == name),
        ),
    )
    draws = draw_users(np.random.default_rng(seed), num_resamples, len(names))
    means = []
    for draw in draws:
        values = []
        for name, times in zip(names, draw, strict=True):
            values += int(times) * [c for c, u in zip(correct, user, strict=True) if u == name]
        means.append(sum(values) / len(values))
    tail = widened_tail(len(names))
    return np.quantile(means, tail), np.quantile(means, 1 - tail)


def test_the_interval_is_that_of_a_naive_loop():
    rng = np.random.default_rng(0)
    user = rng.choice(["b", "a", "d", "c", "e"], 40)
    correct = rng.random(40) < 0.6
    expected = naive_interval(correct.tolist(), user.tolist(), num_resamples=300, seed=4)
    assert ends_by_user(correct, user, num_resamples=300, seed=4) == pytest.approx(expected)


def test_two_users_by_hand():
    # of the draws AA, AB, BA, BB a quarter gives 0, a quarter 1
    low, high = ends_by_user([0, 0, 1, 1], ["a", "a", "b", "b"])
    assert (low, high) == (0.0, 1.0)
    assert ends_by_user([0, 0, 1, 1], ["a", "b", "a", "b"]) == (0.5, 0.5)


def test_users_and_not_pairs_are_drawn():
    # 400 pairs of 8 users who are right always or never: the interval is as wide as 8 users give
    user = np.repeat(np.arange(8), 50)
    low, high = ends_by_user((user % 2).astype(float), user)
    assert high - low > 0.5


def test_coverage_on_independent_users():
    rng = np.random.default_rng(1)
    hits = 0
    for number in range(200):
        share = rng.beta(6, 4, 40)  # a user's own share; 0.6 on average
        user = np.repeat(np.arange(40), 5)
        low, high = ends_by_user(
            rng.random(200) < share[user], user, num_resamples=400, seed=number
        )
        hits += low <= 0.6 <= high
    assert 0.89 <= hits / 200 <= 0.99  # nominal 0.95, a little less with 40 users


def test_the_order_of_pairs_and_the_names_of_users_do_not_matter():
    rng = np.random.default_rng(2)
    correct, user = rng.random(30) < 0.5, rng.integers(0, 5, 30)
    order = rng.permutation(30)
    expected = ends_by_user(correct, user)
    assert ends_by_user(correct[order], user[order]) == pytest.approx(expected)
    assert ends_by_user(correct, [f"user-{u}" for u in user]) == pytest.approx(expected)


def test_ties_are_wrong_and_counted():
    accuracy = pair_accuracy([1.0, 0.0, -0.0, -2.0], ["a", "a", "b", "b"])
    assert (accuracy.interval.value, accuracy.ties, accuracy.pairs) == (0.25, 2, 4)
    assert accuracy.interval.users == 2


def test_one_user_has_no_interval():
    accuracy = pair_accuracy([1.0, -1.0], ["a", "a"])
    assert accuracy.as_dict() == {
        "accuracy": 0.5,
        "low": None,
        "high": None,
        "pairs": 2,
        "users": 1,
        "ties": 0,
    }


def test_no_pair():
    accuracy = pair_accuracy([], [])
    assert accuracy.interval == Interval(None, None, None, 0)
    assert (accuracy.pairs, accuracy.ties) == (0, 0)


@given(size=st.integers(1, 60), seed=st.integers(0, 1000))
def test_layers_sum_up(size, seed):
    rng = np.random.default_rng(seed)
    margin = rng.integers(-2, 3, size).astype(float)
    reference = rng.integers(-2, 3, size).astype(float)
    layers = layered(margin, reference, rng.integers(0, 4, size))
    overall, parts = layers["overall"], (layers["distinctive"], layers["consensus"])
    assert overall.pairs == sum(part.pairs for part in parts) == size
    assert overall.ties == sum(part.ties for part in parts)
    assert overall.interval.value == pytest.approx(
        sum(part.pairs * (part.interval.value or 0.0) for part in parts) / size
    )
    assert layers["distinctive"].pairs == np.count_nonzero(reference < 0)


def test_the_global_model_on_its_own_layers():
    reference = np.array([-1.0, -3.0, 2.0, 0.0, 1.0])
    layers = layered(reference, reference, ["a", "b", "a", "b", "c"])
    assert layers["distinctive"].interval.value == 0.0
    assert layers["consensus"].interval.value == pytest.approx(
        2 / 3
    )  # its tie is consensus and wrong
    assert layers["overall"].interval.value == pytest.approx(2 / 5)


def test_an_empty_layer():
    layers = layered([1.0, -1.0], [0.5, 2.0], ["a", "b"])
    assert layers["distinctive"].interval.value is None
    assert layers["distinctive"].pairs == 0
    assert layers["consensus"] == layers["overall"]


def test_counts_by_user_give_the_accuracy_back():
    margin, user = np.array([1.0, 0.0, 2.0, -1.0]), np.array(["b", "a", "b", "b"])
    counts = counts_by_user(margin, user)
    assert counts == {"users": ["a", "b"], "pairs": [1, 3], "correct": [0, 2]}
    assert (
        sum(counts["correct"]) / sum(counts["pairs"]) == pair_accuracy(margin, user).interval.value
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_margins_must_be_finite(value):
    with pytest.raises(ValueError, match="Margins must be finite, but some are not"):
        pair_accuracy([value], ["a"])
    with pytest.raises(ValueError, match="Margins must be finite, but some are not"):
        layered([1.0], [value], ["a"])


def test_shapes_must_agree():
    message = r"Margins and user must have one shape \(P,\), but got "
    with pytest.raises(ValueError, match=message + r"\(2,\) and \(1,\)"):
        pair_accuracy([1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match=message):
        layered(np.ones((2, 1)), np.ones(2), ["a", "b"])
    with pytest.raises(ValueError, match=message):
        layered([1.0, 2.0], [1.0, 2.0], ["a"])


def test_many_models_have_the_figures_of_each_layers_pairs_alone():
    rng = np.random.default_rng(0)
    reference = rng.integers(-2, 3, 90).astype(float)
    margins = {name: rng.integers(-2, 3, 90).astype(float) for name in ("a", "b")}
    user = rng.integers(0, 7, 90)
    found = layer_accuracies(margins, reference, user)
    for name, margin in margins.items():
        assert tuple(found[name]) == LAYERS
        for layer, inside in split_layers(reference).items():
            assert found[name][layer] == pair_accuracy(margin[inside], user[inside])


def test_a_layer_of_one_user_has_no_interval():
    layers = layered(np.array([1.0, -1.0, 1.0]), [-1.0, 2.0, 2.0], ["a", "b", "c"])
    assert layers["distinctive"].interval == Interval(1.0, None, None, 1)
    assert layers["consensus"].interval.low is not None
