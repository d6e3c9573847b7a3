"""Rooms that nobody claims are freed on a real Ray; those of others stay."""

from collections.abc import Iterator
from typing import Any

import pytest
import ray
from ray.util import placement_group, placement_group_table, remove_placement_group

from sweeps.config import LanesConfig
from sweeps.lanes.hangs import rooms
from sweeps.lanes.hangs.rooms import Rooms

CPUS = 0.125
LANES = LanesConfig(workers=2, cpus=CPUS)


class Book:
    """The rooms that lanes have told of."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.known = known

    def read_rooms(self) -> dict[str, Any]:
        return self.known


class Queue:
    """The queue of a lane that lives."""

    def count_done(self) -> int:
        return 0


@pytest.fixture
def make_room(cluster: None) -> Iterator[Any]:
    made = []

    def make(num_bundles: int) -> Any:
        room = placement_group([{"CPU": CPUS}] * num_bundles)
        ray.get(room.ready())
        made.append(room)
        return room

    yield make
    for room in made:
        remove_placement_group(room)


def state_of(room: Any) -> str:
    return str(placement_group_table()[room.id.hex()]["state"])


@pytest.mark.slow
def test_a_room_that_no_lane_claims_for_long_is_freed(
    make_room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "_EVERY_S", 0.0)
    left, claimed, wider = make_room(2), make_room(2), make_room(3)
    queue = ray.remote(Queue).options(num_cpus=0).remote()
    book = ray.remote(Book).options(num_cpus=0).remote({"a": (claimed, queue)})
    found = Rooms(book, LANES)
    found.free(30.0)
    found.free(30.0)
    assert state_of(left) == "CREATED"  # its workers may still start

    monkeypatch.setattr(rooms, "_UNCLAIMED_S", -1.0)
    found.free(30.0)
    assert [state_of(room) for room in (left, claimed, wider)] == ["REMOVED", "CREATED", "CREATED"]
    found.close()
