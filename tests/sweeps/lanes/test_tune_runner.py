"""Lanes are counted from the cluster; a lane that cannot fit is refused with the arithmetic."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from sweeps.config import LanesConfig
from sweeps.lanes.lane_limit import NODE_GROUP
from sweeps.lanes.tune_runner import LedgerCallback, count_lanes, describe_lanes
from sweeps.ledger.records import Ledger, TrialRecord


def set_nodes(
    monkeypatch: pytest.MonkeyPatch, *nodes: dict[str, float], group: str | None = None
) -> None:
    labels = {} if group is None else {NODE_GROUP: group}
    alive = [{"Alive": True, "Resources": have, "Labels": labels} for have in nodes]
    monkeypatch.setattr(ray, "nodes", lambda: alive)
    total = {name: sum(have.get(name, 0.0) for have in nodes) for name in ("CPU", "GPU")}
    monkeypatch.setattr(ray, "cluster_resources", lambda: total)


def lanes(
    monkeypatch: pytest.MonkeyPatch, have: dict[str, float], jobs: int, **asked: float
) -> int:
    set_nodes(monkeypatch, have)
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
    with pytest.raises(
        RuntimeError, match=r"A lane needs .* CPUs and .* but the cluster has 2 and 0"
    ):
        lanes(monkeypatch, have, 5, **asked)


def test_a_lane_lies_on_one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    set_nodes(monkeypatch, {"CPU": 64.0}, {"CPU": 8.0, "GPU": 8.0}, {"CPU": 3.0, "GPU": 1.0})
    assert count_lanes(LanesConfig.model_validate({"cpus": 4, "gpus": 1}), num_jobs=20) == 2
    set_nodes(monkeypatch, {"CPU": 3.0}, {"CPU": 3.0})
    with pytest.raises(RuntimeError, match=r"4 CPUs and 0 GPUs on one node, but .* 6 and 0"):
        count_lanes(LanesConfig(cpus=4), num_jobs=20)


def test_lanes_are_shown_with_what_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    set_nodes(monkeypatch, {"CPU": 64.0, "GPU": 2.0})
    config = LanesConfig.model_validate({"cpus": 4, "gpus": 0.25, "num_lanes": 10})
    said = describe_lanes(config, num_jobs=20)
    assert said == "8 lanes, each 4 of 64 CPUs and 0.25 of 2 GPUs"


def test_a_cluster_that_can_grow_may_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    set_nodes(monkeypatch, {"CPU": 0.0}, group="head")
    said = "0 lanes now, {} asked for of the autoscaler, each 1 of 0 CPUs"
    assert describe_lanes(LanesConfig(), num_jobs=20) == said.format(1)
    assert describe_lanes(LanesConfig(num_lanes=8), num_jobs=20) == said.format(8)
    assert describe_lanes(LanesConfig(num_lanes=8), num_jobs=5) == said.format(5)
    set_nodes(monkeypatch, {"CPU": 8.0}, group="head")
    assert describe_lanes(LanesConfig(num_lanes=8), num_jobs=20) == "8 lanes, each 1 of 8 CPUs"


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
