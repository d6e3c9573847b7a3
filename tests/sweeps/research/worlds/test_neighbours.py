"""A country trained together with neighbours, against a gradient loop and by its corners."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from sweeps.probe.heads import HeadSettings
from sweeps.research.worlds import neighbours as studied
from sweeps.research.worlds.map_cells import MapCell
from sweeps.research.worlds.neighbours import (
    COMPARED,
    NEIGHBOUR_SIZES,
    NeighbourCell,
    fit_together,
    make_neighbours,
    run_neighbours,
    stack_features,
)
from sweeps.research.worlds.world_arms import Tuning, select_each
from sweeps.research.worlds.worlds import WorldSettings, make_world

SETTINGS = WorldSettings(num_users=3, num_features=4, shift=1.0, outlier_share=0.3)


def make_cell(kinship=0.5, num_neighbours=2, **changes):
    world = WorldSettings(**{**vars(SETTINGS), **changes})
    return NeighbourCell(MapCell(world, Tuning(num_settings=4), 1), kinship, num_neighbours)


def one_setting(l2=0.1, steps=600, retention=0.7, strength=1.0):
    return HeadSettings(*(np.array([value]) for value in (retention, strength, l2, steps)))


def test_training_together_equals_a_gradient_loop() -> None:
    """Gradient descent on shared and own parts, not on stacked features."""
    cell, rho, l2 = make_cell(), 0.8, 0.1
    countries = [make_world(SETTINGS, 0).train, *make_neighbours(cell, 0)]
    settings = one_setting(l2)
    moved, starts = fit_together(countries[1:], settings, np.array([rho]))(countries[0])
    assert starts.tolist() == [True]
    selections = [select_each(settings)(pairs.reference_margin)[0] for pairs in countries]
    num_kept = sum(selection.keep.sum() for selection in selections)
    everything = np.concatenate([pairs.differences for pairs in countries]).astype(float)
    pull = l2 * np.square(everything).sum() / (4 * len(everything)) / 3
    shared, own = np.zeros(4), np.zeros((3, 4))
    for _ in range(6000):
        slope_shared, slope_own = pull * shared / rho, pull * own / (1 - rho)
        for number, (pairs, selection) in enumerate(zip(countries, selections, strict=True)):
            x = pairs.differences.astype(float)
            margin = pairs.reference_margin + x @ (shared + own[number])
            slope = -(selection.weights * expit(-margin) / num_kept) @ x
            slope_shared += slope
            slope_own[number] += slope
        shared -= 0.1 * slope_shared
        own -= 0.1 * slope_own
    assert np.abs(own[0]).max() > 0.01
    np.testing.assert_allclose(moved[0], shared + own[0], atol=2e-3)


def test_without_sharing_it_is_the_country_alone() -> None:
    pairs, others = make_world(SETTINGS, 1).train, make_neighbours(make_cell(), 1)
    settings = one_setting()
    alone = fit_together(others, settings, np.array([0.0]))(pairs)[0]
    nearly = fit_together([pairs, pairs], settings, np.array([1e-9]))(pairs)[0]
    np.testing.assert_allclose(nearly, alone, atol=2e-3)


def test_features_have_a_shared_block_and_one_a_country() -> None:
    pairs = [make_world(SETTINGS, seed).train for seed in (0, 1)]
    stacked = stack_features(pairs, 0.36)
    first, second = pairs[0].differences, pairs[1].differences
    rows = len(first)
    assert stacked.shape == (2 * rows, 12)
    np.testing.assert_allclose(stacked[:rows, :4], 0.6 * first, rtol=1e-6)
    np.testing.assert_allclose(stacked[:rows, 4:8], 0.8 * first, rtol=1e-6)
    np.testing.assert_allclose(stacked[rows:, 8:], 0.8 * second, rtol=1e-6)
    assert not stacked[:rows, 8:].any()
    assert not stacked[rows:, 4:8].any()


@pytest.mark.parametrize("kinship", [0.0, 0.6, 1.0])
def test_neighbours_have_their_kinship(kinship) -> None:
    """Their utility margins are linear in the differences: solve for their heads."""
    cell = make_cell(kinship, num_neighbours=3, num_users=20)
    world = make_world(cell.cell.world, 2)
    own = world.country_head - world.global_head
    for pairs in make_neighbours(cell, 2):
        x = pairs.differences.astype(float)
        head = np.linalg.lstsq(x, pairs.utility_margin, rcond=None)[0]
        np.testing.assert_allclose(x @ world.global_head, pairs.reference_margin, atol=1e-4)
        theirs = head - world.global_head
        cosine = theirs @ own / math.sqrt((theirs @ theirs) * (own @ own))
        assert cosine == pytest.approx(kinship, abs=1e-5)
        assert np.linalg.norm(theirs) == pytest.approx(np.linalg.norm(own), rel=1e-5)


def test_the_study_goes_on_where_it_ended(tmp_path, monkeypatch) -> None:
    small = NEIGHBOUR_SIZES["small"]
    tuning = Tuning(num_settings=4, judged_folds=1)
    axes = replace(small, axes=replace(small.axes, num_worlds=2, tuning=tuning))
    rows = run_neighbours(tmp_path, axes, print, num_processes=1)
    assert {row.variant for row in rows} == {"kinship 0", "kinship 0.9"}
    with (tmp_path / "neighbours.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(rows) == 2 * 2 * len(COMPARED) * 2

    def fail(cell):
        raise AssertionError("a cell was computed again")

    monkeypatch.setattr(studied, "compute_neighbours", fail)
    assert run_neighbours(tmp_path, axes, print, num_processes=1) == rows
