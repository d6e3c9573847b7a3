import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scpo.method.strength import beta_of_strength, margin_scale, retention_mask, tau_of_retention
from scpo.method.weighting import effective_pairs, inverse_pair_weights, keep_mask, pair_weights

MARGINS = arrays(np.float64, st.integers(1, 40), elements=st.floats(-20, 20, width=32))
BETAS = st.floats(0.05, 50)


def naive_weight(d: float, beta: float) -> float:
    return min(math.exp(d / beta), 1.0)


def naive_inverse(d: float, beta: float) -> float:
    return max(math.exp(-d / beta), 1.0)


def naive_keeps(d: float, tau: float) -> bool:
    return math.exp(d) / (math.exp(d) + 1.0) < tau


@given(margin=MARGINS, beta=BETAS)
def test_weights_are_those_of_the_naive_formula(margin, beta):
    expected = [naive_weight(d, beta) for d in margin.tolist()]
    np.testing.assert_allclose(pair_weights(margin, beta), expected, rtol=1e-6)
    expected = [min(naive_inverse(d, beta), 1e3) for d in margin.tolist()]
    np.testing.assert_allclose(inverse_pair_weights(margin, beta), expected, rtol=1e-6)


@given(margin=MARGINS, tau=st.floats(0.05, 0.95))
def test_filter_is_that_of_the_naive_formula(margin, tau):
    clear = np.abs(1 / (1 + np.exp(-margin)) - tau) > 1e-12  # else rounding decides
    expected = np.array([naive_keeps(d, tau) for d in margin.tolist()])
    np.testing.assert_array_equal(keep_mask(margin, tau)[clear], expected[clear])


def test_values_by_hand():
    margin = [-1.1, 0.0, 2.0, -2.2]
    np.testing.assert_allclose(pair_weights(margin, 1.1), [math.exp(-1), 1, 1, math.exp(-2)])
    np.testing.assert_allclose(inverse_pair_weights(margin, 1.1), [math.e, 1, 1, math.e**2])
    # sigmoid(ln(7/3)) = 0.7: the bound itself is dropped
    bound = math.log(7 / 3)
    assert keep_mask([-1, 0, bound - 1e-9, bound + 1e-9], 0.7).tolist() == [True] * 3 + [False]
    assert keep_mask([0.0], 0.5).tolist() == [False]  # a tie of the global model, p = 0.5
    assert effective_pairs([1, 1, 0.5, 0.5]) == pytest.approx(9 / 2.5)
    assert effective_pairs([1e-200, 1e-200]) == pytest.approx(2)
    assert effective_pairs([]) == effective_pairs([0.0, 0.0]) == 0.0


def test_a_tie_of_the_global_model_weighs_one():
    assert pair_weights([0.0]) == inverse_pair_weights([0.0]) == 1.0


@given(margin=MARGINS, beta=BETAS)
def test_weights_are_bounded_and_monotone(margin, beta):
    ordered = np.sort(margin)
    weights, inverse = pair_weights(ordered, beta), inverse_pair_weights(ordered, beta)
    assert np.all((weights >= 0) & (weights <= 1))
    assert np.all(weights[ordered / beta > -700] > 0)
    assert np.all(inverse >= 1)
    assert np.all(np.diff(weights) >= 0)
    assert np.all(np.diff(inverse) <= 0)


@given(margin=MARGINS, taus=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)))
def test_a_higher_tau_keeps_no_fewer(margin, taus):
    low, high = (keep_mask(margin, tau) for tau in sorted(taus))
    assert np.all(high[low])


def test_extremes_do_not_overflow():
    margin = np.array([-1e4, 1e4, -1e300, 1e300])
    assert pair_weights(margin).tolist() == [0.0, 1.0, 0.0, 1.0]
    np.testing.assert_allclose(inverse_pair_weights(margin), [1e3, 1, 1e3, 1])
    assert keep_mask(margin, 0.7).tolist() == [True, False, True, False]
    assert keep_mask(margin, 1.0).all()
    assert pair_weights(margin, math.inf).tolist() == [1.0] * 4
    half = np.array([-60000, 60000], dtype=np.float16)
    assert pair_weights(half).dtype == np.float64


def test_nothing_in_nothing_out():
    assert keep_mask([], 0.5).shape == pair_weights([]).shape == (0,)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "function",
    [
        keep_mask,
        pair_weights,
        inverse_pair_weights,
        margin_scale,
        lambda d: keep_mask(d, 1.0),
        lambda d: retention_mask(d, 0.5),
        lambda d: tau_of_retention(d, 0.5),
    ],
)
def test_margins_must_be_finite(function, value):
    with pytest.raises(ValueError, match="must be finite, but 1 of 2 are not"):
        function([0.0, value])


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan, -math.inf])
def test_beta_must_be_positive(beta):
    for function in (pair_weights, inverse_pair_weights):
        with pytest.raises(ValueError, match=r"`beta > 0` must hold, but got beta="):
            function([1.0], beta)


@pytest.mark.parametrize("tau", [0.0, -0.1, 1.1, math.nan])
def test_tau_must_be_in_range(tau):
    with pytest.raises(ValueError, match=r"`0 < tau <= 1` must hold, but got tau="):
        keep_mask([1.0], tau)


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_effective_pairs_refuses_bad_weights(weight):
    message = r"^Weights must be finite and non-negative, but got others\.$"
    with pytest.raises(ValueError, match=message):
        effective_pairs([1.0, weight])


@given(weights=arrays(np.float64, st.integers(1, 30), elements=st.floats(0.001, 1)))
def test_effective_pairs_lie_between_one_and_all(weights):
    assert 1 - 1e-9 <= effective_pairs(weights) <= len(weights) + 1e-9


def test_margin_scale_and_strength():
    assert margin_scale([1.0, 3.0]) == 1.0
    assert beta_of_strength(2.0, 1.0) == 0.5
    assert beta_of_strength(0.0, 1.0) == math.inf


@pytest.mark.parametrize("margin", [[], [1.0], [0.0, 0.0], [0.1, 0.1, 0.1]])
def test_margins_that_do_not_differ_have_no_scale(margin):
    # 0.1 + 0.1 + 0.1 rounds, so the standard deviation of the last is not exactly 0
    with pytest.raises(ValueError, match=f"{len(margin)} pairs have standard deviation 0"):
        margin_scale(margin)


def test_strength_and_scale_must_be_in_range():
    for strength in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="`0 <= strength < inf` must hold"):
            beta_of_strength(strength, 1.0)
    for scale in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="`0 < scale < inf` must hold"):
            beta_of_strength(1.0, scale)


@given(
    size=st.integers(1, 60),
    retention=st.floats(0.01, 1.0),
    seed=st.integers(0, 99),
    spread=st.sampled_from([0.1, 3.0]),
)
def test_retention_keeps_its_share_without_ties(size, retention, seed, spread):
    rng = np.random.default_rng(seed)
    margin = spread * rng.permutation(size) / size + rng.normal()
    expected = max(1, round(retention * size))
    keep = retention_mask(margin, retention)
    assert keep.sum() == expected
    if expected < size:
        assert margin[keep].max() < margin[~keep].min()
    tau = tau_of_retention(margin, retention)
    assert (tau == 1.0) == (expected == size)
    np.testing.assert_array_equal(keep_mask(margin, tau), keep)


def test_retention_keeps_ties_of_the_last():
    margin = [3.0, 1.0, 1.0, 1.0, 2.0]
    assert retention_mask(margin, 0.2).tolist() == [False, True, True, True, False]
    assert keep_mask(margin, tau_of_retention(margin, 0.2)).sum() == 3
    assert tau_of_retention([1.0, 1.0], 0.1) == 1.0
    assert retention_mask([5.0], 0.01).tolist() == [True]


def test_retention_holds_where_the_sigmoid_saturates():
    margin = np.arange(30.0, 70.0)  # float64 sigmoid is 1 above 37
    assert retention_mask(margin, 0.5).sum() == 20
    assert tau_of_retention(margin, 0.5) < 1.0
    assert 0.0 < tau_of_retention(-1e3 * margin, 0.5)


@pytest.mark.parametrize("retention", [0.0, -0.5, 1.5, math.nan])
def test_retention_must_be_in_range(retention):
    with pytest.raises(ValueError, match=r"`0 < retention <= 1` must hold"):
        tau_of_retention([1.0], retention)


def test_retention_needs_a_pair():
    with pytest.raises(ValueError, match="At least one pair"):
        retention_mask([], 0.5)
