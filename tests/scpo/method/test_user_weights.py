"""Weights of users, by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scpo.method.arms import select_arm, select_setting
from scpo.method.strength import margin_scale
from scpo.method.user_weights import default_user_strength, user_agreement, user_weights

# sd = 2: mean 0, squares 4 * 4 / 4
MARGIN = np.array([2.0, -2.0, 2.0, -2.0])
USER = np.array(["b", "a", "b", "a"])


def test_agreement_and_weights_by_hand() -> None:
    agreement = user_agreement(MARGIN, USER)
    assert agreement.tolist() == pytest.approx([math.sqrt(2), -math.sqrt(2)] * 2)  # 4 / (2 sqrt 2)
    weights = user_weights(agreement, 0.5)
    assert weights.tolist() == pytest.approx([1.0, math.exp(-math.sqrt(0.5))] * 2)
    assert user_weights(agreement, 0.0).tolist() == [1.0] * 4


def test_a_user_of_many_pairs_is_told_more_surely() -> None:
    user = np.array(["a"] * 4 + ["b"])
    margin = np.array([-1.0, -1.0, -1.0, -1.0, 4.0])  # sd 2
    assert user_agreement(margin, user).tolist() == pytest.approx([-1.0] * 4 + [2.0])


@given(st.permutations(range(12)))
def test_the_order_of_pairs_does_not_matter(order: list[int]) -> None:
    rng = np.random.default_rng(0)
    margin, user = rng.normal(size=12), np.repeat(np.arange(4), 3)
    found = user_agreement(margin[order], user[order])
    np.testing.assert_allclose(found, user_agreement(margin, user)[order])


def test_few_users_get_half_the_strength() -> None:
    assert [default_user_strength(count) for count in (10, 29, 30, 400)] == [0.5, 0.5, 1.0, 1.0]


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape \(P,\), but got \(4,\) and \(3,\)"):
        user_agreement(MARGIN, USER[:3])
    with pytest.raises(ValueError, match="standard deviation 0"):
        user_agreement(np.ones(4), USER)
    with pytest.raises(ValueError, match="must be finite"):
        user_agreement(np.array([1.0, 2.0, math.nan, 0.0]), USER)
    for strength in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"`0 <= user_strength < inf`"):
            user_weights(np.zeros(2), strength)
    with pytest.raises(ValueError, match="must be finite"):
        user_weights(np.array([math.nan]), 1.0)


def test_the_arm_keeps_every_pair_and_says_its_strength() -> None:
    agreement = user_agreement(MARGIN, USER)
    selection = select_arm("user", MARGIN, agreement=agreement, user_strength=1.0)
    assert selection.keep.all()
    assert selection.weights.tolist() == user_weights(agreement, 1.0).tolist()
    assert selection.numbers == {"tau": 1.0, "beta": None, "user_strength": 1.0}
    full = select_arm("full", MARGIN)
    gated = select_arm("user", MARGIN, agreement=agreement, user_strength=0.0)
    assert gated.weights.tolist() == full.weights.tolist()
    assert full.numbers["user_strength"] == 0.0


def test_both_weights_multiply() -> None:
    agreement = np.array([-1.0, 0.5, -2.0, 0.0])
    both = select_setting(
        MARGIN, retention=0.5, strength=1.0, agreement=agreement, user_strength=0.5
    )
    scale = margin_scale(MARGIN)
    expected = [0.0, math.exp(-2.0 / scale), 0.0, math.exp(-2.0 / scale)]  # the negative margins
    expected = [w * math.exp(0.5 * min(z, 0.0)) for w, z in zip(expected, agreement, strict=True)]
    assert both.weights.tolist() == pytest.approx(expected)
    assert both.user_strength == 0.5


def test_users_without_agreement_are_refused() -> None:
    with pytest.raises(ValueError, match=r"User strength 1 needs the agreement .* but got none"):
        select_setting(MARGIN, retention=1.0, strength=0.0, user_strength=1.0)
    with pytest.raises(ValueError, match=r"shape \(4,\), but got shape \(2,\)"):
        select_arm("user", MARGIN, agreement=np.zeros(2), user_strength=1.0)
