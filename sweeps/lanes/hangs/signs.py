"""Signs of life: what each process of a lane sends every second while it is there.

A thread sends them, but what they tell, `scpo.files.pulse`, is raised by the thread that computes:
a process that is stopped sends none, and the count of one in an endless loop stands still.
"""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import psutil
import ray
from ray.exceptions import RayError

from scpo.files.pulse import pulse

_EVERY_S = 1.0
_ANSWER_S = 60.0  # of an actor that is about to start


class Process(NamedTuple):
    """A process of a lane, so that its node finds it again."""

    node: str  # Ray's id
    host: str
    pid: int
    born: float  # seconds since 1970, since another process may have its number later


class Sign(NamedTuple):
    """What a process tells of itself."""

    lane: str  # equal for all of a lane's processes
    process: Process
    rank: int | None  # of a worker; None for the actor of a lane
    job: str | None  # the trial that it computes; None while it starts or waits
    steps: int  # counted by `scpo.files.pulse`


@dataclass(frozen=True)
class Watched:
    """Where the processes of a lane send their signs: the actor of a `SignBook`."""

    book: Any
    lane: str


class Signs:
    """Sends the signs of this process until it is closed; the first has arrived when it is made.

    Args:
        watched: Where they go; None for nowhere.
        rank: Of a worker of the lane.
    """

    def __init__(self, watched: Watched | None, rank: int | None = None) -> None:
        self.watched = watched
        self.rank = rank
        self.job: str | None = None
        self._closed = threading.Event()
        if watched is not None:
            node = str(ray.get_runtime_context().get_node_id())
            born = psutil.Process().create_time()
            self._process = Process(node, socket.gethostname(), os.getpid(), born)
            with suppress(RayError):
                ray.get(watched.book.hear.remote(self._sign(watched)), timeout=_ANSWER_S)
            threading.Thread(target=self._send, args=(watched,), daemon=True).start()

    @contextmanager
    def working(self, job: str) -> Iterator[None]:
        """Tell of a trial that its computation goes on, during the block."""
        self.job = job
        try:
            yield
        finally:
            self.job = None

    def close(self) -> None:
        """Send no more: the process is about to end."""
        self._closed.set()
        if self.watched is not None:
            self.watched.book.forget.remote(self._process)

    def _send(self, watched: Watched) -> None:
        while not self._closed.wait(_EVERY_S):
            watched.book.hear.remote(self._sign(watched))

    def _sign(self, watched: Watched) -> Sign:
        return Sign(watched.lane, self._process, self.rank, self.job, pulse.count)
