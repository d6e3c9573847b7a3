"""Frees what the workers of a lane that died held of the cluster, so that the next lane has room.

Ray Train leaves this to an actor that asks the cluster's API by whatever address it finds on its
machine: where two clusters run on one, it ends with an error, and the room stays taken.
"""

import time
from typing import Any

import ray
from ray import PlacementGroupID
from ray.exceptions import RayActorError
from ray.util import placement_group_table, remove_placement_group
from ray.util.placement_group import PlacementGroup

from sweeps.config import LanesConfig

_EVERY_S = 10.0  # a look at all rooms of the cluster
_UNCLAIMED_S = 300.0  # more than a group of workers takes from its room to its first word
_claimed: dict[int, set[str]] = {}  # rooms of living lanes, by the `Rooms` of this process


class Rooms:
    """Frees the room of each lane whose queue is dead; the queue dies with the lane's actor.

    A lane that dies while its workers start has not told of its room. Of this job's rooms for as
    many workers, one that no lane claims for long is freed too.

    Args:
        book: The actor of a `SignBook`.
        lanes: The size of the lanes.
    """

    def __init__(self, book: Any, lanes: LanesConfig) -> None:
        self.book = book
        self.lanes = lanes
        self.asked: dict[str, Any] = {}  # of a lane's queue, by lane
        self.unclaimed: dict[str, float] = {}  # since when, by room
        self.looked = 0.0
        self.job = ray.get_runtime_context().get_job_id()

    def free(self, timeout_s: float) -> None:
        """Look at every lane once, and ask its queue whether it is there still.

        Raises:
            RayError: The book does not answer in time.
        """
        rooms = ray.get(self.book.read_rooms.remote(), timeout=timeout_s)
        _claimed[id(self)] = {room.id.hex() for room, _ in rooms.values()}
        for lane, (room, queue) in rooms.items():
            if lane not in self.asked:
                self.asked[lane] = queue.count_done.remote()
            if not ray.wait([self.asked[lane]], timeout=0)[0]:
                continue
            try:
                ray.get(self.asked.pop(lane))
            except RayActorError:
                remove_placement_group(room)
                self.book.forget_room.remote(lane)
        now = time.monotonic()
        if self.lanes.workers > 1 and now - self.looked >= _EVERY_S:
            self.looked = now
            self._free_unclaimed(now)

    def _free_unclaimed(self, now: float) -> None:
        claimed = set().union(*_claimed.values())
        open_rooms = {
            room
            for room, held in placement_group_table().items()
            if held["state"] == "CREATED" and room.endswith(self.job) and self._fits(held)
        }
        since = {room: self.unclaimed.get(room, now) for room in open_rooms - claimed}
        for room, first in since.items():
            if now - first > _UNCLAIMED_S:
                remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(room))))
        self.unclaimed = since

    def _fits(self, held: dict[str, Any]) -> bool:
        """Return whether a room is of as many workers of a lane."""
        needs = [*held["bundles"].values()]
        return needs == [self.lanes.needs] * self.lanes.workers

    def close(self) -> None:
        """Claim nothing any more."""
        _claimed.pop(id(self), None)
