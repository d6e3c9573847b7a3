"""Worlds are what their settings say, against naive loops and by hand."""

import math

import numpy as np
import pytest

from sweeps.research.worlds.worlds import TEST_USERS, WorldSettings, make_world

PURE = WorldSettings(num_users=400, outlier_share=0.0, noise_user_share=0.0)


def cosine(first, second):
    return first @ second / np.linalg.norm(first) / np.linalg.norm(second)


@pytest.mark.parametrize("wanted", [0.0, 0.6, 1.0])
def test_the_global_head_has_its_cosine_to_the_consensus(wanted) -> None:
    world = make_world(WorldSettings(shift=0.0, global_cosine=wanted), 3)
    assert cosine(world.global_head, world.country_head) == pytest.approx(wanted, abs=1e-12)
    length = 3.0 / math.sqrt(2)
    assert np.linalg.norm(world.country_head) == pytest.approx(length)
    assert np.linalg.norm(world.global_head) == pytest.approx(length)


@pytest.mark.parametrize("shift", [0.25, 1.5])
def test_the_shift_is_the_length_of_what_the_country_adds(shift) -> None:
    world = make_world(WorldSettings(shift=shift), 0)  # here the global head is the consensus
    own = np.linalg.norm(world.country_head - world.global_head)
    assert own / np.linalg.norm(world.global_head) == pytest.approx(shift)


def test_margins_are_those_of_the_heads_pair_by_pair_and_ascend() -> None:
    settings = WorldSettings(num_users=5, global_cosine=0.7)
    world = make_world(settings, 1)
    pairs = world.train
    assert len(pairs) == settings.num_pairs == 5 * 2 * 6
    for number, x in enumerate(pairs.differences):
        for margin, head in (
            (pairs.reference_margin, world.global_head),
            (pairs.utility_margin, world.country_head),
        ):
            by_hand = sum(float(a) * float(b) for a, b in zip(x, head, strict=True))
            assert margin[number] == pytest.approx(by_hand, abs=1e-4)
    assert np.all(np.diff(pairs.reference_margin) >= 0)
    assert np.bincount(pairs.user).tolist() == [12] * 5
    assert np.bincount(world.test.user).tolist() == [12] * TEST_USERS


def test_the_sharpness_is_the_spread_of_consensus_margins() -> None:
    margin = make_world(PURE, 0).train.reference_margin
    assert math.sqrt(np.mean(margin**2)) == pytest.approx(3.0, rel=0.05)


def test_users_choose_as_bradley_and_terry_say() -> None:
    """Chosen with probability sigmoid(margin), in every band of the margin's size."""
    right, expected, count = np.zeros(4), np.zeros(4), np.zeros(4)
    for seed in range(6):
        for margin in make_world(PURE, seed).train.utility_margin.tolist():
            band = min(3, int(abs(margin)))
            right[band] += margin > 0
            expected[band] += 1 / (1 + math.exp(-abs(margin)))
            count[band] += 1
    assert np.all(count > 1000)
    np.testing.assert_allclose(right / count, expected / count, atol=0.02)


def test_outliers_choose_against_the_consensus() -> None:
    settings = WorldSettings(num_users=400, shift=1.0, outlier_share=1.0, noise_user_share=0.0)
    margin = make_world(settings, 0).train.reference_margin  # of a perfect global model
    wrong = np.mean(margin < 0)
    expected = np.mean(1 / (1 + np.exp(-np.abs(margin))))
    assert wrong == pytest.approx(expected, abs=0.02)


def test_noise_users_choose_at_random() -> None:
    settings = WorldSettings(num_users=400, outlier_share=0.0, noise_user_share=1.0)
    assert np.mean(make_world(settings, 0).train.utility_margin > 0) == pytest.approx(
        0.5, abs=0.03
    )


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_the_share_of_outliers_is_right_in_every_world_and_in_the_mean(share) -> None:
    """Of users who know their mind, outliers always choose against the consensus."""
    counts = []
    for seed in range(12):
        settings = WorldSettings(
            outlier_share=share, shift=0.0, sharpness=1e6, noise_user_share=0.0
        )
        test = make_world(settings, seed).test
        outliers = 0
        for user in range(TEST_USERS):
            outliers += bool(np.all(test.reference_margin[test.user == user] < 0))
        counts.append(outliers)
    assert all(abs(count - share * TEST_USERS) <= 1 for count in counts)


def test_a_seed_gives_one_world_and_settings_share_its_randomness() -> None:
    first, again = make_world(WorldSettings(), 7), make_world(WorldSettings(), 7)
    np.testing.assert_array_equal(first.train.differences, again.train.differences)
    shifted = make_world(WorldSettings(shift=0.4), 7)
    own = first.country_head - first.global_head
    np.testing.assert_allclose(2 * (shifted.country_head - shifted.global_head), own)
    other = make_world(WorldSettings(), 8)
    assert not np.allclose(first.global_head, other.global_head)


def test_take_keeps_the_named_pairs_in_their_order() -> None:
    pairs = make_world(WorldSettings(num_users=2), 0).train
    taken = pairs.take(np.array([4, 1]))
    np.testing.assert_array_equal(taken.differences, pairs.differences[[4, 1]])
    assert taken.user.tolist() == [pairs.user[4], pairs.user[1]]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"num_users": 1}, "num_users >= 2"),
        ({"shift": -0.1}, "0 <= shift"),
        ({"outlier_share": -0.1}, "outlier_share >= 0"),
        ({"noise_user_share": -0.1}, "noise_user_share >= 0"),
        ({"outlier_share": 0.7, "noise_user_share": 0.4}, "noise_user_share <= 1"),
        ({"global_cosine": 1.1}, "global_cosine <= 1"),
        ({"sharpness": 0.0}, "0 < sharpness"),
        ({"num_features": 1}, "num_features >= 2"),
        ({"interactions_per_user": 0}, "interactions_per_user >= 1"),
        ({"responses_per_interaction": 1}, "responses_per_interaction >= 2"),
    ],
)
def test_settings_out_of_range_are_refused(change, rule) -> None:
    with pytest.raises(ValueError, match=rule):
        WorldSettings(**change)
