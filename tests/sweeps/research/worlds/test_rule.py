"""The rule of the choice on worlds of known truth: it loses nothing, and gains where scpo pays.

The 24 kinds of worlds span the map's axes; in four of them the large map says that scpo pays.
"""

from itertools import product

import numpy as np
import pytest

from sweeps.research.worlds.map_cells import MapCell, compute_map_cell
from sweeps.research.worlds.world_arms import MEASURES, Tuning, tune_scpo
from sweeps.research.worlds.worlds import WorldSettings, make_world

TRUTH = MEASURES.index("truth")
KINDS = [
    WorldSettings(num_users=users, shift=shift, outlier_share=share, global_cosine=cosine)
    for users, shift, share, cosine in product((24, 72), (0.0, 0.75), (0.0, 0.2, 0.4), (0.6, 1.0))
]
PAYS = [
    WorldSettings(num_users=users, shift=0.75, outlier_share=share)
    for users, share in product((72, 216), (0.3, 0.4))
]


def mean_gain(kind: WorldSettings, num_worlds: int, tuning: Tuning, first_seed: int) -> float:
    """Return the mean of tuned scpo minus tuned full on typical users' choices, in points."""
    result = compute_map_cell(MapCell(kind, tuning, num_worlds, first_seed))
    scpo, full = (np.array(result[arm])[:, TRUTH] for arm in ("scpo", "full"))
    return 100 * float((scpo - full).mean())


def test_with_infinite_caution_scpo_is_full() -> None:
    world = make_world(WorldSettings(num_users=12, outlier_share=0.3), 0).train
    arms = tune_scpo(world, Tuning(num_settings=8, caution=np.inf), 0)
    assert (arms["scpo"].retention, arms["scpo"].strength) == (1.0, 0.0)
    np.testing.assert_array_equal(arms["scpo"].moved, arms["full"].moved)
    world = make_world(WorldSettings(num_users=40, shift=0.75, outlier_share=0.4), 3).train
    bold = tune_scpo(world, Tuning(num_settings=16, caution=0.0), 0)
    assert not np.array_equal(bold["scpo"].moved, bold["full"].moved)


def test_vetted_users_alone_judge() -> None:
    world = make_world(WorldSettings(num_users=40, shift=0.75, outlier_share=0.4), 0).train
    typical = np.unique(world.user[world.is_typical])
    assert len(typical) == pytest.approx(20, abs=1)  # a tenth choose at random
    arms = tune_scpo(world, Tuning(num_settings=16, vetted=True, caution=0.5), 0)
    assert arms["scpo"].retention < 1 or arms["scpo"].strength > 0


def test_few_worlds_of_few_kinds_lose_nothing() -> None:
    tuning = Tuning(num_settings=8)
    gains = [mean_gain(kind, 2, tuning, 100 * n) for n, kind in enumerate(KINDS[:12:2])]
    assert np.mean(gains) > -0.3


@pytest.mark.exhaustive
def test_the_rule_loses_nothing_over_kinds_of_worlds_and_gains_where_scpo_pays() -> None:
    tuning = Tuning()
    assert len(KINDS) == 24
    gains = [mean_gain(kind, 12, tuning, 100 * n) for n, kind in enumerate(KINDS)]
    assert np.mean(gains) > -0.1
    # Outliers among those who judge hide what pays.
    vetted = Tuning(vetted=True)
    pays = [mean_gain(kind, 12, vetted, 10_000 + 100 * n) for n, kind in enumerate(PAYS)]
    assert np.mean(pays) > 0.0
