"""Arms on a tiny world against a gradient loop pair by pair, and tuning against plain loops."""

import math

import numpy as np
import pytest

from scpo.method.arms import TRAINED_ARMS, select_arm
from scpo.statistics.user_folds import deal_users
from sweeps.probe.choose_heads import train_selections
from sweeps.research.worlds.world_arms import (
    MEASURES,
    Tuning,
    draw_plain,
    draw_search,
    judge_world,
    select_random,
    tune_arm,
)
from sweeps.research.worlds.worlds import WorldSettings, make_world

TINY = WorldSettings(num_users=3, num_features=3, interactions_per_user=1, outlier_share=0.3)


def descend(pairs, weights, num_kept, l2, steps):
    """Plain gradient descent on J, a pair at a time."""
    x = pairs.differences.astype(np.float64).tolist()
    pull = l2 * sum(a * a for row in x for a in row) / (4 * len(x))
    largest = sum(a * a for row in x for a in row) * max(weights) / (4 * num_kept) + pull
    moved = [0.0] * len(x[0])
    for _ in range(steps):
        slope = [pull * value for value in moved]
        for row, margin, weight in zip(x, pairs.reference_margin, weights, strict=True):
            m = margin + sum(a * b for a, b in zip(row, moved, strict=True))
            for k, a in enumerate(row):
                slope[k] -= weight / num_kept * a / (1 + math.exp(m))
        moved = [value - s / largest for value, s in zip(moved, slope, strict=True)]
    return moved


@pytest.mark.parametrize("arm", TRAINED_ARMS)
def test_each_arm_equals_a_gradient_loop(arm) -> None:
    pairs = make_world(TINY, 2).train
    agreement = np.linspace(-2.0, 1.0, len(pairs))
    selection = select_arm(
        arm, pairs.reference_margin, seed=1, agreement=agreement, user_strength=1.0
    )
    l2 = 10.0 if arm == "inverse" else 0.3  # its weights go up to a thousand
    moved = train_selections(pairs, [selection], l2=np.array([l2]), steps=np.array([2000]))
    kept = int(selection.keep.sum())
    naive = descend(pairs, selection.weights.tolist(), kept, l2, 300)
    assert max(map(abs, naive)) > 0.05
    np.testing.assert_allclose(moved[0], naive, atol=2e-4)


def naive_figures(moved, test):
    """Measures of one head, pair by pair."""
    right, truth = [], []
    for x, reference, utility in zip(
        test.differences, test.reference_margin, test.utility_margin, strict=True
    ):
        margin = reference + float(x.astype(np.float64) @ moved)
        right.append((margin > 0, reference < 0))
        probability = 1 / (1 + math.exp(-utility))
        truth.append(probability if margin > 0 else 1 - probability)
    distinctive = [good for good, wrong in right if wrong]
    consensus = [good for good, wrong in right if not wrong]
    return [
        sum(good for good, _ in right) / len(right),
        sum(distinctive) / len(distinctive),
        sum(consensus) / len(consensus),
        sum(truth) / len(truth),
    ]


def test_measures_are_those_of_a_loop() -> None:
    world = make_world(TINY, 0)
    heads = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    heads[0] = 0
    figures = judge_world(heads, world.test)
    for number, head in enumerate(heads.astype(np.float64)):
        np.testing.assert_allclose(figures[number], naive_figures(head, world.test), atol=1e-12)
    assert figures[0, MEASURES.index("distinctive")] == 0
    assert figures[0, MEASURES.index("consensus")] == 1


def test_the_country_utility_is_truest() -> None:
    world = make_world(WorldSettings(), 0)
    heads = np.random.default_rng(1).normal(size=(50, 32)).astype(np.float32)
    heads[0] = world.country_head - world.global_head
    truth = judge_world(heads, world.test)[:, MEASURES.index("truth")]
    assert truth.argmax() == 0


@pytest.mark.parametrize("max_drop", [0.02, 0.25])
def test_tuning_chooses_as_a_loop_over_settings_deals_and_folds(max_drop) -> None:
    tuning = Tuning(num_settings=8, folds=3, max_consensus_drop=max_drop)
    pairs = make_world(WorldSettings(num_users=12, num_features=8, outlier_share=0.3), 4).train
    settings = draw_search(tuning, 1)
    chosen, moved_chosen = tune_arm(pairs, settings.select, settings, tuning)
    consensus = np.bincount(pairs.user, pairs.reference_margin >= 0)
    ranked = []
    for number in range(8):
        one = settings.take(np.array([number]))
        right, loss, lost = 0, 0.0, np.zeros(12)
        for deal in range(2):
            fold_of = deal_users(pairs.user.astype(str), 3, seed=1000 * deal)
            for fold in range(3):
                train, left = pairs.take(fold_of != fold), pairs.take(fold_of == fold)
                selection = one.select(train)
                moved = train_selections(train, selection, l2=one.l2, steps=one.steps)[0]
                for x, d, user in zip(
                    left.differences, left.reference_margin, left.user, strict=True
                ):
                    margin = d + float(x @ moved)
                    right += margin > 0
                    loss += math.log1p(math.exp(-margin))
                    lost[user] += (d >= 0 and margin <= 0) / 2
        drop = lost.sum() / consensus.sum()
        error = np.sqrt(12 / 11 * np.square(lost - drop * consensus).sum()) / consensus.sum()
        excess = max(drop - 2.200985 * error - max_drop, 0)  # Student's t, 11 degrees of freedom
        ranked.append((round(excess, 9), -right, loss, number))
    assert chosen == min(ranked)[-1]
    one = settings.take(np.array([chosen]))
    alone = train_selections(pairs, one.select(pairs), l2=one.l2, steps=one.steps)
    np.testing.assert_allclose(moved_chosen[0], alone[0], atol=1e-5)


def test_what_each_arm_is_tuned_over() -> None:
    tuning = Tuning(num_settings=16)
    train = make_world(WorldSettings(), 0).train
    plain = draw_plain(tuning, 0)
    assert all(selection.weights.tolist() == [1.0] * 288 for selection in plain.select(train))
    search = draw_search(tuning, 0)
    for selection, share in zip(search.select(train), search.retention, strict=True):
        assert selection.keep.sum() == pytest.approx(share * 288, abs=1)
    for selection in select_random(0.5, 16, 3)(train):
        assert selection.keep.sum() == 144
        margin = train.reference_margin
        assert margin[selection.keep].max() > np.median(margin)  # not the smallest ones


def test_a_country_too_small_for_any_setting_is_refused() -> None:
    pairs = make_world(WorldSettings(num_users=2, responses_per_interaction=2), 0).train
    tuning = Tuning(num_settings=4, folds=2)
    settings = draw_plain(tuning, 0)
    with pytest.raises(ValueError, match="No setting keeps enough of 4 pairs"):
        tune_arm(pairs, settings.select, settings, tuning)
