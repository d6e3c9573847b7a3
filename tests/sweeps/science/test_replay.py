"""Replay: what comes back, its corners, and a study that repeats nothing."""

import csv

import numpy as np
import pytest

from sweeps.probe_heads import HeadSettings
from sweeps.science import replay
from sweeps.science.replay import COMPARED, REPLAY_SIZES, run_replay, select_replayed
from sweeps.science.world_arms import select_each

MARGIN = np.sort(np.random.default_rng(0).normal(size=40))
SETTINGS = HeadSettings(np.array([0.4]), np.array([1.0]), np.array([0.1]), np.array([5]))


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_a_share_of_the_dropped_pairs_comes_back_at_weight_1(share) -> None:
    plain = select_each(SETTINGS)(MARGIN)[0]
    replayed = select_replayed(SETTINGS, [share], seed=3)(MARGIN)[0]
    assert plain.keep.sum() == 16
    assert replayed.keep.sum() == 16 + share * 24
    np.testing.assert_array_equal(replayed.weights[plain.keep], plain.weights[plain.keep])
    back = replayed.keep & ~plain.keep
    assert np.all(replayed.weights[back] == 1)
    assert not replayed.weights[~replayed.keep].any()


def test_which_pairs_come_back_is_random_and_follows_from_the_seed() -> None:
    first, again, other = (
        select_replayed(SETTINGS, [0.5], seed)(MARGIN)[0].keep for seed in (1, 1, 2)
    )
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_the_study_goes_on_where_it_ended(tmp_path, monkeypatch) -> None:
    rows = run_replay(tmp_path, REPLAY_SIZES["small"], print, num_processes=1)
    with (tmp_path / "replay.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(rows) == 2 * len(COMPARED) * 2

    def fail(cell):
        raise AssertionError("a cell was computed again")

    monkeypatch.setattr(replay, "compute_replay", fail)
    assert run_replay(tmp_path, REPLAY_SIZES["small"], print, num_processes=1) == rows
