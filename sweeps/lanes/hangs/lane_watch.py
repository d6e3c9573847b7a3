"""Watches lanes while they run: tells of one that hangs, and kills it so that another goes on.

A thread of the driver reads the signs that lanes send to an actor beside it. Whatever hangs, Tune
included, the thread goes on. A process is killed by a task on its own node, by SIGKILL, which also
ends one that is stopped; Tune or Ray Train then find it dead, as after any other death.
"""

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil
import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from scpo.text.terminal import warn
from sweeps.config import LanesConfig
from sweeps.lanes.hangs.rooms import Rooms
from sweeps.lanes.hangs.rules import Hang, find_hangs, limit_s, tell_s
from sweeps.lanes.hangs.sign_book import Overview, SignBook
from sweeps.lanes.hangs.signs import Process

_EVERY_S = 1.0
_ANSWER_S = 30.0  # of a node, which may have to start a process
_END_S = 2.0  # of the thread
_SAME_S = 30.0  # by which a clock may be set while a process lives


class LaneWatch:
    """Watches the lanes of an experiment; use it as a context.

    Args:
        lanes: Their size, and after how many seconds without progress one is replaced.
        say: Takes a line.
    """

    def __init__(self, lanes: LanesConfig, say: Callable[[str], None] = warn) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        make_book = ray.remote(SignBook).options(
            num_cpus=0, max_restarts=-1, scheduling_strategy=here
        )
        self.book: Any = make_book.remote()
        self.rooms = Rooms(self.book, lanes)
        self.hang_s = lanes.hang_s
        self.say = say
        self.told: dict[str, Hang] = {}  # by lane
        self.num_hangs: Counter[str | None] = Counter()  # by trial
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "LaneWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(_END_S)
        self.rooms.close()
        if ray.is_initialized():
            with suppress(RayError):
                ray.kill(self.book)

    def _run(self) -> None:
        # Ray would start anew for a question to a cluster that a signal has ended.
        while not self._ended.wait(_EVERY_S) and ray.is_initialized():
            with suppress(RayError):  # an actor that starts again, or a cluster that ends
                self._look(ray.get(self.book.read.remote(), timeout=_ANSWER_S))
                self.rooms.free(_ANSWER_S)

    def _look(self, reading: Overview) -> None:
        """Tell of lanes that hang, and end those that do for too long."""
        told_s, least_s = tell_s(reading.longest_s), limit_s(self.hang_s, reading.longest_s)
        hangs = find_hangs(reading.heard, min(told_s, least_s))
        for lane in self.told.keys() - {hang.lane for hang in hangs}:
            self.say(f"{describe_hang(self.told.pop(lane))} goes on.")
        for hang in hangs:
            most_s = limit_s(self.hang_s, reading.longest_s, self.num_hangs[hang.job])
            if hang.age_s >= most_s:
                self._replace(hang)
            elif hang.age_s >= told_s and hang.lane not in self.told:
                self._tell(hang, most_s)

    def _tell(self, hang: Hang, most_s: float) -> None:
        state = _ask_node(hang.culprit.sign.process, end=False)
        if state is None:
            self._forget(hang)
            return
        self.told[hang.lane] = hang
        self.say(
            f"{describe_hang(hang, state)} has made no progress for {hang.age_s:.0f} s; it is "
            f"replaced after {most_s:.0f} s (lanes.hang_s)."
        )

    def _replace(self, hang: Hang) -> None:
        states = [_ask_node(process, end=True) for process in hang.processes]
        self.told.pop(hang.lane, None)
        self._forget(hang)
        if found := [state for state in states if state is not None]:
            self.num_hangs[hang.job] += 1
            self.say(
                f"{describe_hang(hang, found[0])} made no progress for {hang.age_s:.0f} s and was "
                "killed (lanes.hang_s); its training goes on in another process."
            )

    def _forget(self, hang: Hang) -> None:
        for process in hang.processes:
            self.book.forget.remote(process)


def describe_hang(hang: Hang, state: str = "") -> str:
    """Return which process of which lane hangs, given its state by psutil."""
    sign = hang.culprit.sign
    where = "the lane" if sign.rank is None else f"rank {sign.rank} of the lane"
    stopped = ", stopped by a signal" if state == psutil.STATUS_STOPPED else ""
    of = f" of {sign.job}" if sign.job else ""
    return f"{where}{of} (process {sign.process.pid} on {sign.process.host}{stopped})"


def inspect_process(process: Process, *, end: bool) -> str | None:
    """Return the state of a process of this machine, None where it has ended; perhaps kill it."""
    try:
        found = psutil.Process(process.pid)
        state = str(found.status())
        if abs(found.create_time() - process.born) > _SAME_S or state == psutil.STATUS_ZOMBIE:
            return None
        if end:
            found.kill()
    except psutil.NoSuchProcess:
        return None
    return state


def _ask_node(process: Process, *, end: bool) -> str | None:
    """Return `inspect_process`, by its node; "" where the node does not answer."""
    there = NodeAffinitySchedulingStrategy(process.node, soft=False)
    look: Any = inspect_process
    task = ray.remote(look).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
    try:
        answer: str | None = ray.get(task.remote(process, end=end), timeout=_ANSWER_S)
    except GetTimeoutError:
        return ""
    except RayError:
        return None  # the node is gone, and Ray tells
    return answer
