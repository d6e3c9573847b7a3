"""Lanes that never come up are told, with the arithmetic, instead of waited for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.tune.experiment import Trial
from ray.util.placement_group import placement_group, remove_placement_group

from sweeps.config import LanesConfig
from sweeps.jobs.job import Job
from sweeps.lanes import pending_watch
from sweeps.lanes.pending_watch import PendingWatch
from sweeps.lanes.tune_runner import run_jobs
from sweeps.ledger.records import Ledger
from sweeps.run.workspace import Workspace


def trials(*states: str) -> Any:
    return [SimpleNamespace(status=state) for state in states]


def test_a_lane_that_is_up_ends_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = PendingWatch({"CPU": 1.0}, limit_s=0.0)
    watch.on_step_begin(0, [])
    watch.on_step_begin(0, trials(Trial.PENDING, Trial.RUNNING))
    watch.on_step_begin(1, trials(Trial.PENDING))  # between two trials


def test_pending_is_told_with_the_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0})
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 1.5})
    now = iter([10.0, 14.0, 16.0])
    monkeypatch.setattr(pending_watch.time, "monotonic", lambda: next(now))
    watch = PendingWatch({"CPU": 2.0, "GPU": 0.5}, limit_s=5.0)
    watch.on_step_begin(0, trials(Trial.PENDING))
    watch.on_step_begin(1, trials(Trial.PENDING))
    expected = (
        r"No lane came up in 5 s\. A lane needs 2 CPUs \(the cluster has 8, 1\.5 free\), "
        r"0\.5 GPUs \(the cluster has 0, 0 free\)"
    )
    with pytest.raises(RuntimeError, match=expected):
        watch.on_step_begin(2, trials(Trial.PENDING))


@pytest.mark.slow
def test_a_cluster_that_is_taken_ends_the_sweep(
    cluster: None, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_watch, "PENDING_S", 1.0)
    taken = placement_group([{"CPU": 2}])
    try:
        ray.get(taken.ready())
        job = Job("t", "search", "Arvandia", "full", 1e-3, 1.0, seed=0)
        with pytest.raises(RuntimeError, match=r"1 CPUs \(the cluster has 2, 0 free\)"):
            run_jobs([job], workspace, LanesConfig(), Ledger(tmp_path), tmp_path, str)
    finally:
        remove_placement_group(taken)
