import numpy as np
import pytest

from scpo.statistics.accuracy import LAYERS, layer_accuracies, layered_accuracy
from scpo.statistics.bootstrap import widened_tail


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    reference = rng.integers(-2, 3, 90).astype(float)
    margins = {name: rng.integers(-2, 3, 90).astype(float) for name in ("a", "b")}
    return margins, reference, rng.integers(0, 7, 90)


def test_figures_are_those_of_one_model_at_a_time(world):
    margins, reference, user = world
    found = layer_accuracies(margins, reference, user, num_resamples=100)
    for name, margin in margins.items():
        expected = layered_accuracy(margin, reference, user)
        assert tuple(found[name]) == LAYERS
        for layer in LAYERS:
            ours, theirs = found[name][layer], expected[layer]
            assert ours.accuracy == pytest.approx(theirs.accuracy, abs=1e-15)
            assert (ours.pairs, ours.users, ours.ties) == (
                theirs.pairs,
                theirs.users,
                theirs.ties,
            )


def test_intervals_are_those_of_a_naive_loop_over_users(world):
    margins, reference, user = world
    found = layer_accuracies(margins, reference, user, num_resamples=100, seed=3)
    drawn = {layer: [] for layer in LAYERS}
    for draw in np.random.default_rng(3).integers(7, size=(100, 7)):
        right, there = dict.fromkeys(LAYERS, 0), dict.fromkeys(LAYERS, 0)
        for name in draw:
            for m, d in zip(margins["b"][user == name], reference[user == name], strict=True):
                for layer in ("overall", "distinctive" if d < 0 else "consensus"):
                    there[layer] += 1
                    right[layer] += m > 0
        for layer in LAYERS:
            drawn[layer].append(right[layer] / there[layer])
    tail = widened_tail(7)
    for layer in LAYERS:
        ends = (found["b"][layer].low, found["b"][layer].high)
        expected = np.quantile(drawn[layer], [tail, 1 - tail]).tolist()
        assert ends == pytest.approx(expected, abs=1e-12)


def test_an_empty_layer_and_one_user():
    found = layer_accuracies({"m": np.array([1.0, -1.0])}, [0.5, 2.0], ["a", "b"])["m"]
    assert (found["distinctive"].accuracy, found["distinctive"].low) == (None, None)
    assert (found["distinctive"].pairs, found["distinctive"].users) == (0, 0)
    assert found["consensus"].accuracy == 0.5
    alone = layer_accuracies({"m": np.array([1.0, -1.0])}, [0.5, -2.0], ["a", "a"])["m"]
    assert (alone["overall"].accuracy, alone["overall"].low) == (0.5, None)


def test_a_layer_of_one_user_has_no_interval():
    margins = {"m": np.array([1.0, -1.0, 1.0])}
    found = layer_accuracies(margins, [-1.0, 2.0, 2.0], ["a", "b", "c"])["m"]
    assert found["distinctive"].low is None
    assert found["consensus"].low is not None


def test_shapes_and_values_are_checked():
    match = "margins, reference_margin and user must have one shape"
    with pytest.raises(ValueError, match=match):
        layer_accuracies({"m": np.ones(2)}, np.ones(3), ["a", "b", "c"])
    with pytest.raises(ValueError, match=match):
        layer_accuracies({"m": np.ones(2)}, np.ones(2), ["a"])
    with pytest.raises(ValueError, match="Margins must be finite to be counted"):
        layer_accuracies({"m": np.array([np.nan])}, [1.0], ["a"])
    with pytest.raises(ValueError, match="Margins must be finite to be counted"):
        layer_accuracies({"m": np.ones(1)}, [np.inf], ["a"])
