"""Lanes are counted from the nodes, which come and go; a request for more is withdrawn."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from scpo.choices import NODE_GROUP
from scpo.distributed.ray_start import can_grow, check_capacity, places_by_node
from sweeps.config import LanesConfig
from sweeps.lanes import lane_count
from sweeps.lanes.lane_count import (
    LaneCount,
    count_lanes,
    describe_lanes,
)


class Nodes:
    """Nodes of one CPU each, an autoscaler's requests, and a clock that each look moves on."""

    def __init__(self) -> None:
        self.number = 1
        self.labels = {NODE_GROUP: "small"}
        self.requests: list[list[dict[str, float]]] = []
        self.now = 100.0

    def list(self) -> list[dict[str, Any]]:
        alive = {"Alive": True, "Resources": {"CPU": 1.0}, "Labels": self.labels}
        return [alive] * self.number + [{**alive, "Alive": False}]

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.number += 1


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    nodes = Nodes()
    monkeypatch.setattr(ray, "nodes", nodes.list)
    monkeypatch.setattr(
        lane_count, "request_resources", lambda bundles: nodes.requests.append(bundles)
    )
    monkeypatch.setattr(time, "monotonic", lambda: nodes.now)
    monkeypatch.setattr(time, "sleep", nodes.sleep)
    return nodes


def test_nodes_that_are_gone_hold_nothing(nodes: Nodes) -> None:
    assert places_by_node({"CPU": 0.5}) == [2]
    assert places_by_node({"CPU": 0.5, "GPU": 1.0}) == [0]
    assert can_grow()
    nodes.labels = {}
    assert not can_grow()
    nodes.labels, nodes.number = {NODE_GROUP: "small"}, 0
    assert not can_grow()


def follow(nodes: Nodes, limit: LaneCount, numbers: list[int]) -> list[int]:
    """Return how many trials may run with so many nodes."""
    seen = []
    for nodes.number in numbers:
        nodes.now += lane_count.CHECK_S
        limit.on_step_begin(0, [])
        seen.append(limit.limiter.max_concurrent)
    return seen


def test_lanes_follow_the_nodes(nodes: Nodes) -> None:
    search: Any = SimpleNamespace(max_concurrent=4)
    limit = LaneCount(search, LanesConfig(), 4, may_request=False)
    assert follow(nodes, limit, [2, 3, 9, 1, 0]) == [2, 3, 4, 1, 1]
    limit.release()
    assert nodes.requests == []


def test_looks_are_rare(nodes: Nodes) -> None:
    search: Any = SimpleNamespace(max_concurrent=4)
    limit = LaneCount(search, LanesConfig(), 4, may_request=False)
    limit.on_step_begin(0, [])
    nodes.number = 3
    limit.on_step_begin(1, [])
    assert search.max_concurrent == 1


def test_what_is_missing_is_asked_for_once_and_given_back(nodes: Nodes) -> None:
    search: Any = SimpleNamespace(max_concurrent=3)
    limit = LaneCount(search, LanesConfig(), 3, may_request=True)
    assert follow(nodes, limit, [0, 1, 1, 3, 3]) == [1, 2, 2, 3, 3]  # one waits where some lack
    assert nodes.requests == [[{"CPU": 1.0}] * 3, []]
    assert follow(nodes, limit, [2]) == [3]
    limit.release()
    limit.release()
    assert nodes.requests[2:] == [[{"CPU": 1.0}] * 3, []]


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
        ({"CPU": 64.0, "GPU": 2.0}, {"gpus": 0.4}, 20, 4),  # two a GPU, not five on both
        ({"CPU": 64.0, "GPU": 2.0}, {"gpus": 0.6}, 20, 2),
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
        RuntimeError,
        match=r"A lane needs .* on one node, but the cluster has 2 CPUs and 0 GPUs on 1",
    ):
        lanes(monkeypatch, have, 5, **asked)


def test_a_lane_lies_on_one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    set_nodes(monkeypatch, {"CPU": 64.0}, {"CPU": 8.0, "GPU": 8.0}, {"CPU": 3.0, "GPU": 1.0})
    assert count_lanes(LanesConfig.model_validate({"cpus": 4, "gpus": 1}), num_jobs=20) == 2
    set_nodes(monkeypatch, {"CPU": 3.0}, {"CPU": 3.0})
    with pytest.raises(RuntimeError, match=r"4 CPUs on one node, but .* 6 CPUs and 0 GPUs"):
        count_lanes(LanesConfig(cpus=4), num_jobs=20)


def test_lanes_are_shown_with_what_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    set_nodes(monkeypatch, {"CPU": 64.0, "GPU": 2.0})
    config = LanesConfig.model_validate({"cpus": 4, "gpus": 0.25, "num_lanes": 10})
    said = describe_lanes(config, num_jobs=20)
    assert said == "8 lanes, each 4 of 64 CPUs and 0.25 of 2 GPUs"


def test_a_cluster_that_can_grow_may_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    set_nodes(monkeypatch, {"CPU": 0.0}, group="head")
    check_capacity(2, {"GPU": 1.0})
    said = "0 lanes now, {} requested from the autoscaler, each 1 of 0 CPUs"
    assert describe_lanes(LanesConfig(), num_jobs=20) == said.format(1)
    assert describe_lanes(LanesConfig(num_lanes=8), num_jobs=20) == said.format(8)
    assert describe_lanes(LanesConfig(num_lanes=8), num_jobs=5) == said.format(5)
    set_nodes(monkeypatch, {"CPU": 8.0}, group="head")
    assert describe_lanes(LanesConfig(num_lanes=8), num_jobs=20) == "8 lanes, each 1 of 8 CPUs"


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([3.0], 1),  # 1.5 groups of two workers fit
        ([4.0], 2),
        ([7.8], 3),  # 3.9
        ([3.0, 3.0], 2),  # each on one node: the odd CPUs stay free
        ([1.0, 1.0, 1.0], 1),  # no node holds a group, so it spans two
    ],
)
def test_groups_are_counted_by_node(
    monkeypatch: pytest.MonkeyPatch, nodes: list[float], expected: int
) -> None:
    set_nodes(monkeypatch, *({"CPU": cpus} for cpus in nodes))
    config = LanesConfig(workers=2)
    assert count_lanes(config, num_jobs=20) == expected
    lanes = "1 lane" if expected == 1 else f"{expected} lanes"
    assert describe_lanes(config, num_jobs=20) == (
        f"{lanes} of 2 workers (ZeRO stage 2), each 2 of {sum(nodes):g} CPUs"
    )


def test_a_group_that_never_fits_is_refused_with_the_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_nodes(monkeypatch, {"CPU": 1.0, "GPU": 1.0}, {"CPU": 64.0})
    with pytest.raises(
        RuntimeError,
        match=r"needs 2 x \(1 CPU and 1 GPU\), but the cluster has 65 CPUs and 1 GPUs on 2 nodes, "
        r"room for 1 worker\. Lower lanes\.workers",
    ):
        count_lanes(LanesConfig(workers=2, gpus=1), num_jobs=20)


def test_an_autoscaler_is_asked_for_one_more_whole_group(nodes: Nodes) -> None:
    search: Any = SimpleNamespace(max_concurrent=3)
    limit = LaneCount(search, LanesConfig(workers=2), 3, may_request=True)
    assert follow(nodes, limit, [0, 2, 4, 6, 6]) == [1, 1, 2, 3, 3]
    assert [len(bundles) for bundles in nodes.requests] == [2, 4, 6, 0]
