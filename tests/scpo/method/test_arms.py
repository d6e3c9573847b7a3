import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpo.method.arms import TRAINED_ARMS, select_arm, select_setting

MARGIN = np.array([-2.2, -1.1, 0.0, 0.5, 3.0])  # sigmoid: .10 .25 .50 .62 .95


@pytest.mark.parametrize(
    ("arm", "keep", "weights", "tau", "beta"),
    [
        ("full", [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], 1.0, None),
        ("filter", [1, 1, 1, 1, 0], [1, 1, 1, 1, 0], 0.7, None),
        ("weight", [1, 1, 1, 1, 1], [math.exp(-2), math.exp(-1), 1, 1, 1], 1.0, 1.1),
        ("inverse", [1, 1, 1, 1, 1], [math.exp(2.2), math.exp(1.1), 1, 1, 1], 1.0, 1.0),
        ("scpo", [1, 1, 1, 1, 0], [math.exp(-2), math.exp(-1), 1, 1, 0], 0.7, 1.1),
    ],
)
def test_arms_by_hand(arm, keep, weights, tau, beta):
    selection = select_arm(arm, MARGIN)
    assert selection.keep.tolist() == [bool(kept) for kept in keep]
    np.testing.assert_allclose(selection.weights, weights)
    assert (selection.tau, selection.beta) == (tau, beta)


def test_random_k_keeps_as_many_as_scpo_whatever_the_seed():
    draws = [select_arm("random_k", MARGIN, tau=0.6, seed=seed) for seed in range(20)]
    assert {int(draw.keep.sum()) for draw in draws} == {3}
    assert all(np.array_equal(draw.weights, draw.keep.astype(float)) for draw in draws)
    assert len({draw.keep.tobytes() for draw in draws}) > 1
    again = select_arm("random_k", MARGIN, tau=0.6, seed=5)
    assert np.array_equal(again.keep, draws[5].keep)
    assert np.mean([draw.keep for draw in draws]) == pytest.approx(0.6)


def test_inverse_has_its_own_temperature_and_weighs_at_least_one():
    selection = select_arm("inverse", MARGIN, beta=0.01)
    np.testing.assert_allclose(selection.weights, [math.exp(2.2), math.exp(1.1), 1, 1, 1])


def test_a_low_tau_may_keep_nothing():
    selection = select_arm("scpo", MARGIN, tau=0.01)
    assert not selection.keep.any()
    assert not selection.weights.any()


def test_unknown_arms_and_bad_settings_are_refused():
    with pytest.raises(ValueError, match=r"arm must be one of full, .*user, but got 'globl'"):
        select_arm("globl", MARGIN)
    with pytest.raises(ValueError, match="arm must be one of"):
        select_arm("global", MARGIN)  # it trains nothing
    with pytest.raises(ValueError, match="`0 < tau <= 1`"):
        select_arm("full", MARGIN, tau=0.0)
    with pytest.raises(ValueError, match="`beta > 0`"):
        select_arm("scpo", MARGIN, beta=0.0)
    with pytest.raises(ValueError, match="must be finite"):
        select_arm("full", np.array([math.nan]))


def test_the_corner_of_the_space_is_full():
    corner = select_setting(MARGIN, retention=1.0, strength=0.0)
    full = select_arm("full", MARGIN)
    assert corner.keep.tolist() == full.keep.tolist()
    assert corner.weights.tolist() == full.weights.tolist()
    assert (corner.tau, corner.beta) == (full.tau, full.beta) == (1.0, None)


@given(retention=st.floats(0.05, 1), strength=st.floats(0, 5), seed=st.integers(0, 50))
def test_a_setting_amounts_to_its_tau_and_beta(retention, strength, seed):
    margin = np.random.default_rng(seed).normal(0, 2, 40)
    setting = select_setting(margin, retention=retention, strength=strength)
    assert setting.keep.sum() == max(1, round(retention * 40))
    beta = math.inf if setting.beta is None else setting.beta
    scpo = select_arm("scpo", margin, tau=setting.tau, beta=beta)
    np.testing.assert_array_equal(setting.keep, scpo.keep)
    np.testing.assert_allclose(setting.weights, scpo.weights)
    if strength == 0:
        assert setting.weights.tolist() == setting.keep.astype(float).tolist()


def test_strength_is_in_units_of_the_margins():
    setting = select_setting(10 * MARGIN, retention=1.0, strength=1.5)
    same = select_setting(MARGIN, retention=1.0, strength=1.5)
    np.testing.assert_allclose(setting.weights, same.weights)
    assert setting.beta == pytest.approx(10 * MARGIN.std() / 1.5)


def test_a_setting_keeps_its_share_of_saturated_margins():
    setting = select_setting(np.arange(40.0, 50.0), retention=0.3, strength=0.0)
    assert setting.keep.sum() == 3


def test_settings_out_of_range_are_refused():
    for setting, message in (
        ({"retention": 0.0, "strength": 0.0}, "`0 < retention <= 1`"),
        ({"retention": 1.0, "strength": -1.0}, "`0 <= strength < inf`"),
    ):
        with pytest.raises(ValueError, match=message):
            select_setting(MARGIN, **setting)
    with pytest.raises(ValueError, match="standard deviation 0"):
        select_setting(np.ones(4), retention=1.0, strength=0.0)


def test_arms_are_those_of_the_method():
    assert set(TRAINED_ARMS) == {"full", "filter", "weight", "inverse", "scpo", "random_k", "user"}
