"""Frees what the workers of a lane that died held of the cluster, so that the next lane has room.

Ray Train leaves this to an actor that asks the cluster's API by whatever address it finds on its
machine: where two clusters run on one, it ends with an error, and the room stays taken.
"""

from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.util import remove_placement_group


class Rooms:
    """Frees the room of each lane whose queue is dead; the queue dies with the lane's actor.

    Args:
        book: The actor of a `SignBook`.
    """

    def __init__(self, book: Any) -> None:
        self.book = book
        self.asked: dict[str, Any] = {}  # of a lane's queue, by lane

    def free(self, timeout_s: float) -> None:
        """Look at every lane once, and ask its queue whether it is there still.

        Raises:
            RayError: The book does not answer in time.
        """
        rooms = ray.get(self.book.read_rooms.remote(), timeout=timeout_s)
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
