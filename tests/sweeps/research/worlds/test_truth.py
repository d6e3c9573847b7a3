"""The pattern of the paper on worlds whose truth is known, where it is robust."""

import csv

import pytest

from scpo.method.arms import TRAINED_ARMS
from sweeps.research.worlds import truth as truth_module
from sweeps.research.worlds.truth import WORLDS, run_truth, truth_table
from sweeps.research.worlds.truth_claims import HOLDS
from sweeps.research.worlds.world_arms import MEASURES, Tuning

NUM_SEEDS = 5
TUNING = Tuning(num_settings=4, folds=2)
ROBUST = {  # (claim, measure): where it holds at hard training
    ("filter > full", "distinctive"): {"shift", "outliers"},
    ("filter < full", "overall"): {"shift", "outliers"},
    ("filter < global", "overall"): {"shift"},
    ("inverse < global", "overall"): {"shift"},
    ("weight < full", "distinctive"): {"shift", "outliers"},
    ("full < global", "overall"): {"no shift"},
    ("scpo < global", "overall"): {"no shift"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("truth")


@pytest.fixture(scope="module")
def truth(folder):
    return run_truth(folder, NUM_SEEDS, print, tuning=TUNING, num_processes=1)


def figure(truth, world, training, arm, measure):
    found = [
        row.mean.value
        for row in truth.rows
        if (row.world, row.training, row.arm, row.measure) == (world, training, arm, measure)
    ]
    assert len(found) == 1
    return found[0]


def test_what_is_robust_holds(truth) -> None:
    held: dict[tuple[str, str], set[str]] = {}
    for claim in truth.claims:
        if claim.training == "hard" and claim.verdict == HOLDS:
            held.setdefault((claim.claim, claim.measure), set()).add(claim.world)
    for claim, worlds in ROBUST.items():
        assert worlds <= held.get(claim, set()), claim


def test_inverse_is_worst_at_mild_training_and_nothing_beats_the_truth(truth) -> None:
    for world in WORLDS:
        mild = {arm: figure(truth, world, "mild", arm, "overall") for arm in TRAINED_ARMS}
        assert min(mild, key=mild.__getitem__) == "inverse"
        best = figure(truth, world, "", "truth", "truth")
        for training in ("hard", "mild"):
            for arm in TRAINED_ARMS:
                assert figure(truth, world, training, arm, "truth") < best
    # where nothing is shifted the global model is the truth
    assert figure(truth, "no shift", "", "global", "truth") == pytest.approx(
        figure(truth, "no shift", "", "truth", "truth")
    )


def test_layers_and_files(truth, folder) -> None:
    for world in WORLDS:
        assert figure(truth, world, "", "global", "distinctive") == 0
        assert figure(truth, world, "", "global", "consensus") == 1
    arms = 2 + 2 * len(TRAINED_ARMS) + 2
    assert len(truth.rows) == len(WORLDS) * arms * len(MEASURES)
    for name, rows in (("truth.csv", truth.rows), ("claims.csv", truth.claims)):
        with (folder / name).open() as file:
            assert len(list(csv.DictReader(file))) == len(rows)
    assert truth_table(truth.rows, "shift").row_count == arms


def test_it_goes_on_where_it_ended(truth, folder, monkeypatch) -> None:
    def fail(cell):
        raise AssertionError("a cell was computed again")

    monkeypatch.setattr(truth_module, "compute_truth", fail)
    assert run_truth(folder, NUM_SEEDS, print, tuning=TUNING, num_processes=1) == truth


def test_one_world_gives_no_interval(tmp_path) -> None:
    with pytest.raises(ValueError, match="num_seeds >= 2"):
        run_truth(tmp_path, 1, print)
