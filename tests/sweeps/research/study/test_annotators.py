"""Made-up annotators: who labels what, and whose choices are turned."""

from typing import Any

import numpy as np
import pytest

from scpo.heads.linear_heads import ProbedPairs
from sweeps.research.study.annotators import simulate_annotators
from sweeps.research.study.study_config import AnnotatorsConfig


def make_pairs() -> ProbedPairs:
    rng = np.random.default_rng(3)
    differences = rng.normal(size=(300, 4)).astype(np.float32)
    margin = rng.normal(size=300)
    return ProbedPairs(differences, margin, margin, np.repeat(np.arange(60), 5).astype(str))


@pytest.mark.parametrize("choice", ["reversed", "against global"])
def test_unreliable_annotators_turn_their_pairs_and_others_none(choice: Any) -> None:
    pairs = make_pairs()
    config = AnnotatorsConfig(number=10, unreliable=0.3, choice=choice)
    made = simulate_annotators(pairs, config, seed=1)
    turned = made.differences[:, 0] == -pairs.differences[:, 0]
    np.testing.assert_array_equal(made.offset, np.where(turned, -1, 1) * pairs.offset)
    np.testing.assert_array_equal(made.reference_margin, made.offset)
    of_bad = np.isin(made.user, np.unique(made.user[turned]))
    assert len(np.unique(made.user[of_bad])) == 3
    expected = of_bad & (pairs.reference_margin > 0) if choice == "against global" else of_bad
    np.testing.assert_array_equal(turned, expected)
    for user in np.unique(pairs.user):  # a question is labelled by one
        assert len(np.unique(made.user[pairs.user == user])) == 1


def test_the_same_seed_makes_the_same_annotators() -> None:
    config = AnnotatorsConfig(number=10, unreliable=0.3)
    one, again, other = (simulate_annotators(make_pairs(), config, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.user, again.user)
    assert (one.user != other.user).any()
