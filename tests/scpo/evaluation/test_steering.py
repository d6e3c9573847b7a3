import numpy as np
import pytest

from scpo.evaluation.panels import Panel
from scpo.evaluation.steering import (
    knob_rows,
    mix_margins,
    preferred_weight,
    steered_margins,
)
from scpo.statistics.accuracy import layer_accuracies

pytestmark = pytest.mark.usefixtures("few_resamples")


@pytest.fixture
def panel():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=120)
    reference, country = truth + rng.normal(size=(2, 120))
    user = rng.integers(0, 8, 120).astype(str)
    return Panel("Chile", user, reference, reference, {"global": reference, "scpo": country})


def test_the_ends_are_the_models_themselves(panel):
    steered = steered_margins(*panel.margins.values())
    assert list(steered) == [n / 20 for n in range(21)]
    assert steered[0.0].tolist() == panel.margins["global"].tolist()
    assert steered[1.0].tolist() == panel.margins["scpo"].tolist()


def test_every_row_scores_the_mixed_rewards(panel):
    rows = knob_rows(panel, "test")
    assert len(rows) == 21 * 3
    assert {(row["country"], row["arm"], row["part"]) for row in rows} == {
        ("Chile", "scpo", "test")
    }
    for row in rows:
        s = row["share"]
        mixed = (1 - s) * panel.margins["global"] + s * panel.margins["scpo"]
        expected = layer_accuracies({"m": mixed}, panel.reference_margin, panel.user)["m"]
        assert row["accuracy"] == expected[row["layer"]].interval.value
        assert row["low"] <= row["accuracy"] <= row["high"]
    first = {row["layer"]: row["accuracy"] for row in rows[:3]}
    assert (first["distinctive"], first["consensus"]) == (0.0, 1.0)


def test_validation_prefers_the_highest_and_of_equals_the_smallest():
    # m(s) = (1 - s) d + s m: the first pair turns right above s = 1/2, the second wrong above 2/3
    reference, country = [-1.0, 2.0, 1.0], [1.0, -1.0, 1.0]
    right = {s for s, mixed in steered_margins(reference, country).items() if np.all(mixed > 0)}
    assert right == {0.55, 0.6, 0.65}
    assert preferred_weight(reference, country) == 0.55
    assert preferred_weight([-1.0, 1.0], [-1.0, 1.0]) == 0.0


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


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="Margins must have one shape"):
        mix_margins({"a": [1.0], "b": [2.0, 3.0]}, {"a": 0.5, "b": 0.5})
