"""Lanes: what one job leaves behind does not change the next."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from scpo.config import LoraConfig
from sweeps.config import LanesConfig
from sweeps.jobs.folds import folds_of
from sweeps.jobs.job import Job
from sweeps.lanes.device_lane import DeviceLane
from sweeps.lanes.lane import RECORD_KEY, Lane, LaneNotStarted
from sweeps.ledger.records import TrialRecord
from sweeps.run.workspace import Workspace

COUNTRY = "Arvandia"


def make_job(trial_id: str, **changes: Any) -> Job:
    job = Job(trial_id, "search", COUNTRY, "scpo_tuned", 1e-2, 1.0, seed=0)
    return replace(job, **{"retention": 0.6, "strength": 1.0, **changes})


def open_lane(workspace: Workspace, job: Job) -> Lane:
    lane = DeviceLane.__new__(DeviceLane)  # what Tune does around it is not looked at
    lane.setup(asdict(job), workspace=workspace, lanes=LanesConfig(), folder="run")
    return lane


def finish(lane: Lane) -> tuple[TrialRecord, list[TrialRecord]]:
    """The record of the lane's job, and those of its rungs."""
    results = [lane.step()]
    while not results[-1]["done"]:
        results.append(lane.step())
    *rungs, whole = [TrialRecord.model_validate_json(result[RECORD_KEY]) for result in results]
    return whole, rungs


def same(first: TrialRecord, second: TrialRecord) -> bool:
    names = ("config", "config_hash", "evaluation", "objectives", "counts", "constraints")
    return all(getattr(first, name) == getattr(second, name) for name in names)


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2)])
def test_a_later_trial_of_a_lane_equals_the_first_of_another(
    workspace: Workspace, lora: LoraConfig | None
) -> None:
    """Trainings, a trial that fails, rungs and folds lie between."""
    training = workspace.training.model_copy(update={"lora": lora})
    workspace = replace(workspace, training=training)
    job = make_job("a", rungs=(12, 24))
    lane = open_lane(workspace, job)
    first, rungs = finish(lane)
    assert [record.rung for record in rungs] == [12, 24]
    assert first.evaluation != rungs[0].evaluation
    other = make_job("other", learning_rate=5e-2, epochs=2.0, seed=7, folds=2, arm="full")
    lane.reset_config(asdict(other))
    finish(lane)
    lane.reset_config(asdict(make_job("bad", learning_rate=1e30)))
    failed, _ = finish(lane)
    assert failed.state == "failed"
    assert "finite" in str(failed.error)
    for again in (lane, open_lane(workspace, other)):
        again.reset_config(asdict(replace(job, trial_id="b")))
        second, rungs_of_second = finish(again)
        assert same(first, second)
        assert all(map(same, rungs, rungs_of_second))


def test_a_lane_judges_every_fold(workspace: Workspace) -> None:
    record, _ = finish(open_lane(workspace, make_job("folded", folds=3)))
    data = workspace.countries[COUNTRY]
    assert record.evaluation is not None
    assert set(record.evaluation.by_user.users) == set(data.user[data.part != "test"])
    assert record.evaluation.overall.pairs == np.sum(data.part != "test")
    assert record.config["folds"] == 3
    kept = [0.6 * len(fold.pairs_in("train")) for fold in folds_of(data, 3)]
    assert record.objectives["pairs_trained"] == pytest.approx(np.mean(kept), abs=1)


def test_a_lane_without_a_workspace_is_refused() -> None:
    with pytest.raises(ValueError, match="A lane needs its workspace"):
        DeviceLane.__new__(DeviceLane).setup({})


def test_a_lane_that_cannot_load_the_model_never_started(workspace: Workspace) -> None:
    lost = replace(workspace, model=replace(workspace.model, name="/no/such/model"))
    with pytest.raises(LaneNotStarted, match="/no/such/model"):
        open_lane(lost, make_job("a"))
