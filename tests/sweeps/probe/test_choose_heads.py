"""Heads of arms: folds of users, candidates, their training against scipy, and the choice."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from scpo.data.splits import deal_users
from scpo.heads.linear_heads import ProbedPairs
from scpo.method.arms import select_arm
from sweeps.config import HeadsConfig
from sweeps.ledger.words import HEAD_ARMS
from sweeps.probe.choose_heads import (
    Candidate,
    choose_heads,
    list_candidates,
    train_candidates,
)

CONFIG = HeadsConfig(num_settings=8, steps=200, l2=(0.03, 0.3), tau=0.6, beta=0.7)


def make_pairs(num_pairs: int, num_features: int = 5, seed: int = 0) -> ProbedPairs:
    """Pairs of a country whose utility is the global head's, turned."""
    rng = np.random.default_rng(seed)
    differences = rng.normal(size=(num_pairs, num_features))
    shared, own = rng.normal(size=(2, num_features))
    turn = np.sign(differences @ (shared + 2 * own) + rng.logistic(size=num_pairs))
    differences = (turn[:, None] * differences).astype(np.float32)
    margin = differences.astype(np.float64) @ shared
    return ProbedPairs(differences, margin, margin, np.arange(num_pairs) // 3)


def test_tuned_can_choose_full_at_every_pull() -> None:
    candidates = list_candidates(CONFIG)
    assert [c.l2 for c in candidates if c.arm == "full"] == [0.03, 0.3]
    corner = [(c.retention, c.strength, c.l2) for c in candidates if c.arm == "scpo_tuned"][:2]
    assert corner == [(1.0, 0.0, 0.03), (1.0, 0.0, 0.3)]
    assert len(candidates) == 7 * 2 + 2 + 8
    assert {c.arm for c in list_candidates(CONFIG, ("full", "scpo"))} == {"full", "scpo"}


@pytest.mark.parametrize("arm", ["full", "filter", "weight", "inverse", "scpo", "random_k"])
def test_heads_are_the_minimum_of_the_weighted_loss(arm: str) -> None:
    pairs = make_pairs(60)
    order = np.argsort(pairs.reference_margin, kind="stable")
    x, offset = pairs.differences[order].astype(np.float64), pairs.offset[order]
    selection = select_arm(arm, pairs.reference_margin[order], tau=0.6, beta=0.7, seed=3)
    pull = 0.3 * np.square(x).sum() / (4 * len(x))

    def loss(moved: np.ndarray) -> float:
        each = selection.weights * np.logaddexp(0.0, -(offset + x @ moved))
        return each.sum() / selection.keep.sum() + pull / 2 * moved @ moved

    expected = minimize(loss, np.zeros(5), tol=1e-12).x
    (moved,), kept = train_candidates(pairs, [Candidate(arm, 0.3)], CONFIG, seed=3)
    assert moved == pytest.approx(expected, abs=2e-4)
    assert kept.tolist() == [selection.keep.sum()]


def test_an_arm_that_keeps_nothing_does_not_move() -> None:
    pairs = make_pairs(20)
    sure = replace(pairs, offset=pairs.offset + 90, reference_margin=pairs.reference_margin + 90)
    (moved,), kept = train_candidates(sure, [Candidate("filter", 0.3)], CONFIG, seed=0)
    assert kept.tolist() == [0]
    assert not moved.any()


def test_the_best_candidate_of_the_inner_folds_is_chosen_and_trained_on_all() -> None:
    pairs, user = make_pairs(60), np.repeat([f"u{n}" for n in range(20)], 3)
    chosen = choose_heads(pairs, user, CONFIG, seed=1)
    assert tuple(chosen) == HEAD_ARMS
    fold = deal_users(user, CONFIG.inner_folds, seed=1)
    for arm in ("scpo", "scpo_tuned"):
        scores = {}
        for candidate in list_candidates(CONFIG, (arm,)):
            right, loss = 0, 0.0
            for number in range(CONFIG.inner_folds):
                seen = np.flatnonzero(fold != number)
                (moved,), _ = train_candidates(pairs.take(seen), [candidate], CONFIG, seed=1)
                held = pairs.take(np.flatnonzero(fold == number))
                margin = held.offset + held.differences @ moved
                right, loss = right + (margin > 0).sum(), loss + np.logaddexp(0, -margin).sum()
            scores[candidate] = (-right, loss)
        best = min(scores, key=scores.__getitem__)
        assert chosen[arm].candidate == best
        (moved,), kept = train_candidates(pairs, [best], CONFIG, seed=1)
        assert chosen[arm].moved == pytest.approx(moved, abs=1e-5)
        assert chosen[arm].pairs_trained == kept[0]
