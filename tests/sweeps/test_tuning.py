"""Lanes are counted from the cluster; a lane that cannot fit is refused with the arithmetic."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from sweeps.config import LanesConfig
from sweeps.records import Ledger, TrialRecord
from sweeps.tuning import LedgerCallback, count_lanes, describe_lanes


def lanes(
    monkeypatch: pytest.MonkeyPatch, have: dict[str, float], jobs: int, **asked: float
) -> int:
    monkeypatch.setattr(ray, "cluster_resources", lambda: have)
    return count_lanes(LanesConfig.model_validate(asked), num_jobs=jobs)


@pytest.mark.parametrize(
    ("have", "asked", "jobs", "expected"),
    [
        ({"CPU": 2.0}, {}, 20, 2),
        ({"CPU": 2.0}, {}, 1, 1),
        ({"CPU": 8.0}, {"cpus": 3}, 20, 2),
        ({"CPU": 8.0}, {"num_lanes": 3}, 20, 3),
        ({"CPU": 64.0, "GPU": 2.0}, {"cpus": 4, "gpus": 0.25}, 20, 8),
        ({"CPU": 64.0, "GPU": 2.0}, {"cpus": 4, "gpus": 1}, 20, 2),
        ({"CPU": 1.0}, {"cpus": 0.1}, 20, 10),
    ],
)
def test_lanes_follow_the_cluster(
    monkeypatch: pytest.MonkeyPatch,
    have: dict[str, float],
    asked: dict[str, float],
    jobs: int,
    expected: int,
) -> None:
    assert lanes(monkeypatch, have, jobs, **asked) == expected


@pytest.mark.parametrize(
    ("have", "asked"), [({"CPU": 2.0}, {"gpus": 1}), ({"CPU": 2.0}, {"cpus": 4})]
)
def test_lane_that_never_fits_is_refused_with_the_numbers(
    monkeypatch: pytest.MonkeyPatch, have: dict[str, float], asked: dict[str, float]
) -> None:
    with pytest.raises(RuntimeError, match=r"A lane needs .* CPUs and .* but the cluster has 2"):
        lanes(monkeypatch, have, 5, **asked)


def test_lanes_are_shown_with_what_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 64.0, "GPU": 2.0})
    config = LanesConfig.model_validate({"cpus": 4, "gpus": 0.25})
    said = describe_lanes(config, num_jobs=20)
    assert said == "8 lanes, each 4 of 64 CPUs and 0.25 of 2 GPUs"


def test_a_rung_in_the_ledger_is_left_out_by_the_lane_that_takes_over(
    tmp_path: Path, trial: Callable[..., TrialRecord]
) -> None:
    callback = LedgerCallback(Ledger(tmp_path), lambda record: None)
    running = SimpleNamespace(config={"rungs": (8, 16, 32), "seed": 0})
    record = trial("a@16", [1], 16.0).model_dump_json()
    callback.on_trial_result(0, [], running, {"pruned": True, "rung": 16, "record": record})
    assert running.config == {"rungs": (32,), "seed": 0}
    callback.on_trial_result(0, [], running, {"pruned": False, "rung": None, "record": record})
    assert running.config["rungs"] == (32,)
    assert [each.trial_id for each in Ledger(tmp_path).read()] == ["a@16"]
