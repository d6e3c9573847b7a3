"""Out-of-fold margins, the gate, and what the weights gain on worlds whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest

from scpo.arrays import FloatArray
from scpo.heads.linear_heads import head_margins, train_heads
from scpo.heads.user_margins import (
    UserGate,
    agreement_of_users,
    gate_users,
    gated_strength,
    out_of_fold_margins,
)
from scpo.method.user_weights import user_weights
from scpo.statistics.user_folds import deal_users
from sweeps.config import HeadsConfig
from sweeps.probe.choose_heads import choose_heads
from sweeps.research.worlds.world_arms import judge_world
from sweeps.research.worlds.worlds import WorldSettings, make_world, mean_interval

SMALL = WorldSettings(num_users=12, num_features=4, outlier_share=0.25, interactions_per_user=4)
HEADS = HeadsConfig(num_settings=1)


def test_margins_are_of_heads_that_never_saw_the_user() -> None:
    pairs = make_world(SMALL, 0).train
    found = out_of_fold_margins(pairs, num_folds=3)
    fold = deal_users(pairs.user, 3, seed=0)
    by_pull = []
    for pull in (0.003, 0.03, 0.3, 3.0):
        margins = np.zeros(len(pairs))
        for number in range(3):
            seen, held = pairs.take(np.flatnonzero(fold != number)), fold == number
            (moved,) = train_heads(
                seen.differences,
                seen.offset,
                np.ones((1, len(seen))),
                np.array([len(seen)]),
                l2=np.array([pull]),
                steps=np.array([24]),
            )
            margins[held] = head_margins(moved, pairs.take(np.flatnonzero(held)))
        by_pull.append(margins)
    best = max(by_pull, key=lambda margins: int((margins > 0).sum()))
    np.testing.assert_allclose(found, best, rtol=1e-4, atol=1e-4)


def test_the_labels_of_a_user_do_not_touch_its_margins_but_for_the_sign() -> None:
    pairs = make_world(SMALL, 1).train
    sign = np.where(pairs.user == 3, -1.0, 1.0)
    turned = replace(
        pairs,
        differences=(pairs.differences * sign[:, None]).astype(np.float32),
        offset=pairs.offset * sign,
        reference_margin=pairs.reference_margin * sign,
    )
    mine = pairs.user == 3
    before, after = (out_of_fold_margins(each, num_folds=6) for each in (pairs, turned))
    np.testing.assert_allclose(np.abs(after[mine]), np.abs(before[mine]), rtol=0.5)


def test_the_order_of_pairs_does_not_matter() -> None:
    pairs = make_world(SMALL, 2).train
    order = np.random.default_rng(0).permutation(len(pairs))
    shuffled = agreement_of_users(pairs.take(order))
    np.testing.assert_allclose(shuffled, agreement_of_users(pairs)[order], atol=1e-4)


def test_too_few_users_are_refused() -> None:
    pairs = make_world(SMALL, 0).train
    nine = pairs.take(np.flatnonzero(pairs.user < 9))
    with pytest.raises(ValueError, match="at least 10 users, 2 a fold, but there are 9"):
        out_of_fold_margins(nine)
    with pytest.raises(ValueError, match="The arm `user` needs 10 users, but there are 9"):
        choose_heads(nine, HEADS, seed=0, arms=("full", "user"))


def test_the_gate_shuts_where_a_standard_error_is_lost() -> None:
    assert UserGate(gain=-0.01, standard_error=0.01).is_open
    assert not UserGate(gain=-0.0101, standard_error=0.01).is_open
    assert UserGate(gain=0.0, standard_error=0.0).is_open


def test_the_gate_by_an_independent_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held-out margins of two heads are given: users gain 2 of 2, lose 1 of 3, keep 1 of 1."""
    user = np.array([0, 0, 1, 1, 1, 2])
    plain = np.array([-1.0, -1.0, 1.0, 1.0, -1.0, 1.0])
    weighted = np.array([1.0, 1.0, -1.0, 1.0, -1.0, 1.0])
    margins = np.stack([plain, weighted])[:, None, :]
    monkeypatch.setattr("scpo.heads.user_margins._held_out_margins", lambda *_: margins)
    world = make_world(SMALL, 0).train
    pairs = replace(world.take(np.arange(6)), user=user)
    gate = gate_users(pairs, 1.0)
    assert gate.gain == pytest.approx(1 / 6)
    rest = np.array([2 - 2 / 6, -1 - 3 / 6, 0 - 1 / 6])
    assert gate.standard_error == pytest.approx(np.sqrt(3 / 2 * (rest**2).sum()) / 6)


def test_a_shut_gate_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = make_world(SMALL, 0).train
    assert gated_strength(pairs) == 0.5  # 12 users
    monkeypatch.setattr(
        "scpo.heads.user_margins.gate_users", lambda *_, **__: UserGate(-0.1, 0.01)
    )
    assert gated_strength(pairs) == 0.0
    heads = choose_heads(pairs, HEADS, seed=0, arms=("full", "user"))
    if heads["full"].candidate.l2 == heads["user"].candidate.l2:
        np.testing.assert_array_equal(heads["full"].moved, heads["user"].moved)


def test_outliers_get_the_least_weight() -> None:
    settings = replace(SMALL, num_users=36, noise_user_share=0.0)
    pairs = make_world(settings, 3).train
    agreement = agreement_of_users(pairs)
    against = [np.mean(pairs.utility_margin[pairs.user == user] < 0) for user in range(36)]
    outlier = np.argsort(against)[-9:]  # a quarter
    of_user = np.array([agreement[pairs.user == user][0] for user in range(36)])
    assert set(np.argsort(of_user)[:6]) <= set(outlier.tolist())
    assert user_weights(agreement, 1.0)[np.isin(pairs.user, outlier)].mean() < 0.5


def gains(num_worlds: int, **settings: float) -> FloatArray:
    """`user` - `full` on typical users' choices in worlds as the demo's, in points."""
    found = []
    for seed in range(num_worlds):
        world = make_world(
            WorldSettings(num_users=36, interactions_per_user=4, **settings),  # type: ignore[arg-type]
            seed,
        )
        heads = choose_heads(world.train, HEADS, seed=seed, arms=("full", "user"))
        full, user = (judge_world(heads[arm].moved[None], world.test)[0, 3] for arm in heads)
        found.append(100 * (user - full))
    return np.array(found)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("share", [0.15, 0.3, 0.4])
def test_worlds_with_outliers_gain(share: float) -> None:
    gain = mean_interval(gains(12, outlier_share=share))
    assert gain.value is not None
    assert gain.low is not None
    assert gain.value >= 2.0
    assert gain.low > 0.0


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_worlds_without_outliers_lose_nothing(noise: float) -> None:
    gain = mean_interval(gains(12, outlier_share=0.0, noise_user_share=noise))
    assert gain.value is not None
    assert gain.value >= -0.3
