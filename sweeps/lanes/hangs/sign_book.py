"""What was heard of each process, how long ago, and the longest time between two steps so far.

It also keeps what a lane's workers hold of the cluster, so that this is freed if the lane dies.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from sweeps.lanes.hangs.signs import Process, Sign

# Without being asked: who asks every second was held up, as by the sleep of the whole machine.
_HELD_UP_S = 10.0


class Heard(NamedTuple):
    """The last sign of a process."""

    sign: Sign
    silent_s: float  # since it
    still_s: float  # since the last that told of progress, or of another job


class Overview(NamedTuple):
    """What is known of all processes at one time."""

    heard: tuple[Heard, ...]
    longest_s: float  # between two steps of a job, of any process so far


class SignBook:
    """Keeps the signs of processes; Ray makes an actor of it.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.signs: dict[Process, Sign] = {}
        self.heard_at: dict[Process, float] = {}
        self.moved_at: dict[Process, float] = {}
        self.longest_s = 0.0
        self.read_at = clock()
        self.rooms: dict[str, tuple[Any, Any]] = {}  # by lane

    def hear(self, sign: Sign) -> None:
        """Keep a sign."""
        now, process = self.clock(), sign.process
        before = self.signs.get(process)
        if before is None or (before.job, before.steps) != (sign.job, sign.steps):
            if before is not None and sign.job is not None and before.job == sign.job:
                self.longest_s = max(self.longest_s, now - self.moved_at[process])
            self.moved_at[process] = now
        self.signs[process] = sign
        self.heard_at[process] = now

    def forget(self, process: Process) -> None:
        """Leave out a process that has ended."""
        for kept in (self.signs, self.heard_at, self.moved_at):
            kept.pop(process, None)

    def keep_room(self, lane: str, room: Any, queue: Any) -> None:
        """Keep the placement group of a lane's workers, and the queue that lives as long."""
        self.rooms[lane] = (room, queue)

    def forget_room(self, lane: str) -> None:
        """Leave out the room of a lane that is gone."""
        self.rooms.pop(lane, None)

    def read_rooms(self) -> dict[str, tuple[Any, Any]]:
        """Return the placement group and the queue of each lane of workers."""
        return self.rooms

    def read(self) -> Overview:
        """Return what is known now; time in which nobody asked counts as no silence."""
        now = self.clock()
        if (held_up_s := now - self.read_at) > _HELD_UP_S:
            for times in (self.heard_at, self.moved_at):
                for process, at in times.items():
                    times[process] = min(now, at + held_up_s)
        self.read_at = now
        heard = tuple(
            Heard(sign, now - self.heard_at[process], now - self.moved_at[process])
            for process, sign in self.signs.items()
        )
        return Overview(heard, self.longest_s)
