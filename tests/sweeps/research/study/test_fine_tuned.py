"""Folds as countries of their own, the jobs of a study, and records joined again."""

import numpy as np
import pytest

from scpo.config import parse_config
from sweeps.config import SweepConfig
from sweeps.ledger.words import HEAD_ARMS
from sweeps.probe.choose_heads import Candidate
from sweeps.research.study.fine_tuned import (
    Fold,
    pool_records,
    split_countries,
    study_jobs,
)
from tests.sweeps.research.study_page.records import make_record

CONFIG = parse_config(
    SweepConfig,
    {
        "name": "x",
        "countries": ["Arvandia"],
        "global_model": {"name": "m"},
        "tau": 0.6,
        "beta": 2.0,
        "final": {"seeds": [9]},
    },
    "test",
)


def test_every_user_is_held_out_once_a_seed(workspace) -> None:
    parts = split_countries(workspace.countries, seeds=(3, 4), folds=3)
    assert len(parts) == 6
    data = workspace.countries["Arvandia"]
    for seed in (3, 4):
        sides = np.stack([parts[Fold("Arvandia", seed, n)].part for n in range(3)])
        assert ((sides == "validation").sum(axis=0) == 1).all()
        assert set(np.unique(sides)) == {"train", "validation"}
        for user in np.unique(data.user):
            assert len(np.unique(sides[:, data.user == user], axis=1).T) == 1


def test_arms_of_a_fold_share_its_seed_and_the_tuned_one_has_its_setting(workspace) -> None:
    parts = split_countries(workspace.countries, seeds=(3, 4), folds=2)
    chosen = {fold: Candidate("scpo_tuned", 0.1, 0.5, n / 2) for n, fold in enumerate(parts)}
    jobs = study_jobs(CONFIG, chosen)
    by_name = {fold.name: fold for fold in parts}
    assert len(jobs) == len({job.trial_id for job in jobs}) == 4 * len(HEAD_ARMS)
    assert {job.part for job in jobs} == {"validation"}
    for job in jobs:
        assert job.seed == by_name[job.country].seed
        if job.arm == "scpo_tuned":
            setting = chosen[by_name[job.country]]
            assert (job.retention, job.strength) == (0.5, setting.strength)
            assert (job.tau, job.beta) == (None, None)
        else:
            assert (job.tau, job.beta, job.retention) == (0.6, 2.0, None)


def fold(name: str, arm: str, users: str, correct: list[int]):
    return make_record(name, arm, correct, users=list(users), name=f"{name}-{arm}")


@pytest.mark.parametrize("country", ["South Africa", "Bosnia/Herzegovina"])
def test_folds_of_a_seed_become_one_record(country: str) -> None:
    folds = [Fold(country, seed, number) for seed in (0, 1) for number in (0, 1)]
    assert folds[1].name == f"{country}/0/1"  # as in ledgers of before
    records = [
        fold(f"{country}/0/1", "full", "c", [9]),
        fold(f"{country}/0/0", "full", "ab", [5, 6]),
        fold(f"{country}/1/0", "full", "ac", [5, 6]),  # its other fold is missing
        fold(f"{country}/0/0", "scpo", "ab", [5, 6]),
    ]
    failed = records[3].model_copy(
        update={"country": f"{country}/0/1", "state": "failed", "evaluation": None}
    )
    (pooled,) = pool_records([*records, failed], folds)
    assert (pooled.country, pooled.arm) == (country, "full")
    assert pooled.evaluation.by_user.users == ["a", "b", "c"]
    assert pooled.evaluation.by_user.correct == [5, 6, 9]
    assert pooled.evaluation.overall.accuracy == pytest.approx(20 / 30)
