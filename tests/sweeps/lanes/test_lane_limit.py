"""Lanes follow nodes that come and go; an autoscaler is asked, and the request taken back."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from sweeps.lanes import lane_limit
from sweeps.lanes.lane_limit import NODE_GROUP, LaneLimit, can_grow, count_fits


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
        lane_limit, "request_resources", lambda bundles: nodes.requests.append(bundles)
    )
    monkeypatch.setattr(time, "monotonic", lambda: nodes.now)
    monkeypatch.setattr(time, "sleep", nodes.sleep)
    return nodes


def test_nodes_that_are_gone_hold_nothing(nodes: Nodes) -> None:
    assert count_fits({"CPU": 0.5}) == 2
    assert count_fits({"CPU": 0.5, "GPU": 1.0}) == 0
    assert can_grow()
    nodes.labels = {}
    assert not can_grow()
    nodes.labels, nodes.number = {NODE_GROUP: "small"}, 0
    assert not can_grow()


def follow(nodes: Nodes, limit: LaneLimit, numbers: list[int]) -> list[int]:
    """Return how many trials may run with so many nodes."""
    seen = []
    for nodes.number in numbers:
        nodes.now += lane_limit.LOOK_S
        limit.on_step_begin(0, [])
        seen.append(limit.search.max_concurrent)
    return seen


def test_lanes_follow_the_nodes(nodes: Nodes) -> None:
    search: Any = SimpleNamespace(max_concurrent=4)
    limit = LaneLimit(search, {"CPU": 1.0}, 4, asks=False)
    assert follow(nodes, limit, [2, 3, 9, 1, 0]) == [2, 3, 4, 1, 1]
    limit.release()
    assert nodes.requests == []


def test_looks_are_rare(nodes: Nodes) -> None:
    search: Any = SimpleNamespace(max_concurrent=4)
    limit = LaneLimit(search, {"CPU": 1.0}, 4, asks=False)
    limit.on_step_begin(0, [])
    nodes.number = 3
    limit.on_step_begin(1, [])
    assert search.max_concurrent == 1


def test_what_is_missing_is_asked_for_once_and_given_back(nodes: Nodes) -> None:
    search: Any = SimpleNamespace(max_concurrent=3)
    limit = LaneLimit(search, {"CPU": 1.0}, 3, asks=True)
    assert follow(nodes, limit, [0, 1, 1, 3, 3]) == [1, 2, 2, 3, 3]  # one waits where some lack
    assert nodes.requests == [[{"CPU": 1.0}] * 3, []]
    assert follow(nodes, limit, [2]) == [3]
    limit.release()
    limit.release()
    assert nodes.requests[2:] == [[{"CPU": 1.0}] * 3, []]
