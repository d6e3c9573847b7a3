"""Heads of arms: folds of users, candidates, their training against scipy, and the choice."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from scpo.heads.linear_heads import ProbedPairs
from scpo.method.arms import select_arm
from scpo.statistics.user_folds import deal_users
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
    user = np.array([f"u{number // 3:02}" for number in range(num_pairs)])
    return ProbedPairs(differences, margin, margin, user)


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


def held_out_right(pairs, candidate, deal):
    """Right pairs of each user and the loss, each fold by the head that the others trained."""
    fold = deal_users(pairs.user, CONFIG.inner_folds, seed=1 + 1000 * deal)
    right, loss = dict.fromkeys(np.unique(pairs.user).tolist(), 0), 0.0
    for number in range(CONFIG.inner_folds):
        seen, out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        (moved,), _ = train_candidates(pairs.take(seen), [candidate], CONFIG, seed=1)
        held = pairs.take(out)
        margin = held.offset + held.differences @ moved
        loss += np.logaddexp(0, -margin).sum()
        for name, is_right in zip(held.user.tolist(), margin > 0, strict=True):
            right[name] += int(is_right)
    return np.array(list(right.values())), loss


def score(pairs, candidate):
    """Right pairs by user, mean over deals, and the loss."""
    deals = [held_out_right(pairs, candidate, deal) for deal in range(2)]
    return (deals[0][0] + deals[1][0]) / 2, deals[0][1] + deals[1][1]


def lower_bound(gains, caution):
    """G - k SE of the gains of 20 users of 3 pairs each."""
    error = np.sqrt(20 / 19 * np.square(gains - gains.sum() / 20).sum()) / 60
    return gains.sum() / 60 - caution * error if error > 1e-9 else -np.inf


@pytest.mark.parametrize("caution", [0.2, 1.0])
def test_arms_take_their_best_pull_and_tuned_the_best_bound_over_its_base(caution) -> None:
    pairs = make_pairs(60)
    chosen = choose_heads(pairs, CONFIG.model_copy(update={"caution": caution}), seed=1)
    assert tuple(chosen) == HEAD_ARMS
    scores = {each: score(pairs, each) for each in list_candidates(CONFIG)}
    best = {}
    for arm in ("full", "scpo"):
        own = {each: found for each, found in scores.items() if each.arm == arm}
        best[arm] = min(own, key=lambda each: (-own[each][0].sum(), own[each][1]))
        assert chosen[arm].candidate == best[arm]
    base, kept = scores[best["full"]][0], 1.0
    unmoved = (pairs.reference_margin > 0).reshape(20, 3).sum(axis=1)
    if lower_bound(unmoved - base, caution) > 0:
        base, kept = unmoved, 0.0
    assert kept == (0.0 if caution == 0.2 else 1.0)  # both kinds of base occur
    bounds = {
        each: (round(lower_bound(right - base, caution), 9), right.sum(), -loss)
        for each, (right, loss) in scores.items()
        if each.arm == "scpo_tuned"
    }
    surest = max(bounds, key=bounds.__getitem__)
    plain = replace(
        best["full"], arm="scpo_tuned", retention=kept, strength=0.0, user_strength=0.0
    )
    assert chosen["scpo_tuned"].candidate == (surest if bounds[surest][0] > 0 else plain)
    if kept:
        (moved,), _ = train_candidates(pairs, [chosen["scpo_tuned"].candidate], CONFIG, seed=1)
        assert chosen["scpo_tuned"].moved == pytest.approx(moved, abs=1e-5)


@pytest.mark.parametrize("arm", ["full", "filter"])
def test_only_the_judges_choose_and_all_train(arm: str) -> None:
    pairs = make_pairs(60, seed=4)
    users = np.unique(pairs.user)

    def pull(judges: np.ndarray | None) -> Candidate:
        return choose_heads(pairs, CONFIG, seed=1, arms=(arm,), judges=judges)[arm].candidate

    scores = {each: score(pairs, each) for each in list_candidates(CONFIG, (arm,))}
    for judges in (users[:8], users[12:], None):
        counted = np.isin(users, users if judges is None else judges)
        expected = min(scores, key=lambda c: (-scores[c][0][counted].sum(), scores[c][1]))
        assert pull(judges) == expected
    assert pull(users[:8]) != pull(None)
    assert pull(users[:1]) == pull(users[:0]) == pull(None)  # too few to judge


def test_with_infinite_caution_tuned_is_full() -> None:
    pairs = make_pairs(60)
    config = CONFIG.model_copy(update={"caution": np.inf})
    for arms in (HEAD_ARMS, ("scpo_tuned", "full")):
        chosen = choose_heads(pairs, config, seed=1, arms=arms)
        assert tuple(chosen) == arms
        tuned = chosen["scpo_tuned"]
        assert (tuned.candidate.retention, tuned.candidate.strength) == (1.0, 0.0)
        assert tuned.moved == pytest.approx(chosen["full"].moved, abs=1e-6)
        assert tuned.pairs_trained == 60


def test_where_training_surely_loses_the_global_head_is_kept() -> None:
    # a global head that orders most pairs right, and features that hold nothing else
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(60, 5)).astype(np.float32)
    margin = np.where(rng.random(60) < 0.9, 0.1, -0.1)
    user = np.repeat([f"u{n}" for n in range(20)], 3)
    pairs = ProbedPairs(noise, margin, margin, user)
    (kept,) = choose_heads(pairs, CONFIG, seed=1, arms=("scpo_tuned",)).values()
    assert kept.candidate.retention == 0.0
    assert kept.pairs_trained == 0
    assert not kept.moved.any()
