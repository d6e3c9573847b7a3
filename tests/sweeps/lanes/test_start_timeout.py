"""An experiment of which no lane starts ends, with the arithmetic."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.tune.experiment import Trial
from ray.util.placement_group import placement_group, remove_placement_group

from sweeps.config import LanesConfig
from sweeps.jobs.job import Job
from sweeps.lanes import lane_count
from sweeps.lanes.lane_count import StartTimeout
from sweeps.lanes.tune_runner import run_trials
from sweeps.ledger.records import Ledger
from sweeps.run.workspace import Workspace
from sweeps.search.job_source import JobList


def trials(*states: str) -> Any:
    return [SimpleNamespace(status=state) for state in states]


def test_a_started_lane_ends_the_check() -> None:
    timeout = StartTimeout({"CPU": 1.0})
    timeout.on_step_begin(0, [])
    timeout.on_step_begin(0, trials(Trial.PENDING, Trial.RUNNING))
    timeout.on_step_begin(1, trials(Trial.PENDING))  # between two trials


def test_no_lane_in_time_ends_the_experiment_with_the_arithmetic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0})
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 1.5})
    monkeypatch.setattr(lane_count, "START_TIMEOUT_S", 5.0)
    now = iter([10.0, 14.0, 16.0])
    monkeypatch.setattr(lane_count.time, "monotonic", lambda: next(now))
    timeout = StartTimeout({"CPU": 2.0, "GPU": 0.5})
    timeout.on_step_begin(0, trials(Trial.PENDING))
    timeout.on_step_begin(1, trials(Trial.PENDING))
    expected = (
        r"No lane started in 5 s\. A lane needs 2 CPUs \(the cluster has 8, 1\.5 free\), "
        r"0\.5 GPUs \(the cluster has 0, 0 free\)"
    )
    with pytest.raises(RuntimeError, match=expected):
        timeout.on_step_begin(2, trials(Trial.PENDING))


@pytest.mark.slow
def test_a_cluster_that_is_taken_ends_the_sweep(
    cluster: None, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_count, "START_TIMEOUT_S", 1.0)
    taken = placement_group([{"CPU": 2}])
    try:
        ray.get(taken.ready())
        job = Job("t", "search", "Arvandia", "full", 1e-3, 1.0, seed=0)
        lanes, ledger = LanesConfig(), Ledger(tmp_path)
        with pytest.raises(RuntimeError, match=r"1 CPUs \(the cluster has 2, 0 free\)"):
            run_trials(JobList([job]), workspace, lanes, ledger, tmp_path, str)
    finally:
        remove_placement_group(taken)
