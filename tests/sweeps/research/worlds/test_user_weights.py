"""The arm `user` on worlds of known truth: it gains with unreliable users, loses nothing without.

Judged by the choices of typical test users, as vetted ones would; intervals by user.
"""

import numpy as np
import pytest

from scpo.heads.linear_heads import ProbedPairs, head_margins
from scpo.statistics.bootstrap import Interval, interval
from sweeps.config import HeadsConfig
from sweeps.probe.choose_heads import choose_heads
from sweeps.research.worlds.worlds import WorldPairs, WorldSettings, make_world


def named(pairs: WorldPairs) -> ProbedPairs:
    user = pairs.user.astype(np.str_)
    return ProbedPairs(pairs.differences, pairs.offset, pairs.reference_margin, user)


def gain_of_users(outlier_share: float, num_worlds: int, num_users: int = 36) -> Interval:
    """Return `user` minus `full` on typical test users, over several worlds."""
    gains, counts = [], []
    kind = WorldSettings(num_users=num_users, shift=0.75, outlier_share=outlier_share)
    for seed in range(num_worlds):
        world = make_world(kind, seed)
        heads = choose_heads(named(world.train), HeadsConfig(), seed=seed, arms=("full", "user"))
        test = world.test
        right = {arm: head_margins(head.moved, test) > 0 for arm, head in heads.items()}
        gain = np.where(test.is_typical, right["user"] * 1.0 - right["full"], 0.0)
        gains.append(np.bincount(test.user, gain))
        counts.append(np.bincount(test.user, test.is_typical * 1.0))
    total, pairs = np.concatenate(gains), np.concatenate(counts)
    return interval(total[pairs > 0], pairs[pairs > 0])


def test_weights_of_users_gain_with_outliers() -> None:
    gain = gain_of_users(0.35, 2)
    assert gain.value is not None
    assert gain.low is not None
    assert gain.value > 0.02
    assert gain.low > 0.0


@pytest.mark.exhaustive
@pytest.mark.parametrize("outlier_share", [0.15, 0.3, 0.4])
def test_weights_of_users_gain_two_points(outlier_share: float) -> None:
    gain = gain_of_users(outlier_share, 24)
    assert gain.value is not None
    assert gain.low is not None
    assert gain.value >= 0.02
    assert gain.low > 0.0


@pytest.mark.exhaustive
def test_weights_of_users_lose_nothing_without_outliers() -> None:
    gain = gain_of_users(0.0, 24)
    assert gain.value is not None
    assert gain.value >= -0.003
