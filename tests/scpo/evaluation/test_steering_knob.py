import numpy as np
import pytest

from scpo.evaluation.steering_knob import knob_curve, mix_margins, preferred_share
from scpo.statistics.accuracy import layer_accuracies


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=120)
    reference = truth + rng.normal(size=120)
    country = truth + rng.normal(size=120)
    return reference, country, rng.integers(0, 8, 120)


def test_the_ends_are_the_models_themselves(world):
    reference, country, user = world
    curve = knob_curve(reference, country, user, num_resamples=50)
    assert [point.share for point in curve] == [n / 20 for n in range(21)]
    for point, margin in ((curve[0], reference), (curve[-1], country)):
        expected = layer_accuracies({"m": margin}, reference, user)["m"]
        for layer, accuracy in point.layers.items():
            assert accuracy.interval.value == expected[layer].interval.value
    assert curve[0].layers["distinctive"].interval.value == 0.0
    assert curve[0].layers["consensus"].interval.value == 1.0


def test_every_point_scores_the_mixed_rewards(world):
    reference, country, user = world
    for point in knob_curve(reference, country, user, shares=(0.25, 0.8), num_resamples=50):
        mixed = (1 - point.share) * reference + point.share * country
        expected = layer_accuracies({"m": mixed}, reference, user)["m"]
        for layer, accuracy in point.layers.items():
            figure = accuracy.interval
            assert figure.value == expected[layer].interval.value
            assert figure.low <= figure.value <= figure.high


def test_validation_prefers_the_highest_and_of_equals_the_smallest():
    # m(s) = (1 - s) d + s m: the first pair turns right above s = 1/2, the second wrong above 2/3
    reference, country = [-1.0, 2.0, 1.0], [1.0, -1.0, 1.0]
    curve = knob_curve(reference, country, ["a", "b", "c"], num_resamples=10)
    right = {point.share for point in curve if point.overall == 1.0}
    assert right == {0.55, 0.6, 0.65}
    assert preferred_share(curve) == 0.55
    with pytest.raises(ValueError, match="A curve must have a point to prefer"):
        preferred_share([])


def test_mixtures_of_several_countries():
    margins = {"a": [1.0, 2.0], "b": [3.0, -2.0], "c": [np.pi, np.e]}
    np.testing.assert_allclose(mix_margins(margins, {"a": 0.25, "b": 0.75}), [2.5, -1.0])
    assert mix_margins(margins, {"c": 1.0, "a": 0.0}).tolist() == [np.pi, np.e]
    thirds = mix_margins(margins, dict.fromkeys("abc", 1 / 3))
    np.testing.assert_allclose(thirds, [(4 + np.pi) / 3, np.e / 3])


@pytest.mark.parametrize(
    "weights", [{}, {"a": 0.5}, {"a": 1.5, "b": -0.5}, {"a": 0.5, "d": 0.5}, {"a": np.nan}]
)
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(ValueError, match="Weights must be of known models, not negative and sum"):
        mix_margins({"a": [1.0], "b": [2.0]}, weights)


def test_shapes_and_shares_are_checked(world):
    reference, country, user = world
    with pytest.raises(ValueError, match="Margins must have one shape"):
        mix_margins({"a": [1.0], "b": [2.0, 3.0]}, {"a": 0.5, "b": 0.5})
    with pytest.raises(ValueError, match="`0 <= s <= 1` must hold for every share"):
        knob_curve(reference, country, user, shares=(0.5, 1.2))
    with pytest.raises(ValueError, match="A curve needs at least one pair"):
        knob_curve([], [], [])
    with pytest.raises(ValueError, match="Margins and user must have one"):
        knob_curve(reference, country, user[1:])
