"""Processes that hang: told and killed by a real Ray; what goes on is left alone."""

import os
import signal
import threading
from typing import Any

import psutil
import pytest
import ray

from scpo.files.pulse import pulse
from sweeps.config import LanesConfig
from sweeps.lanes.hangs.lane_watch import LaneWatch
from sweeps.lanes.hangs.signs import Signs, Watched


class Lane:
    """An actor that computes as a lane does; with `beats` it goes on."""

    def __init__(self, book: Any, name: str, beats: bool) -> None:
        self.signs = Signs(Watched(book, name))
        self.name = name
        self.beats = beats

    def pid(self) -> int:
        return os.getpid()

    def work(self) -> None:
        with self.signs.working(self.name):
            while not threading.Event().wait(0.1):
                if self.beats:
                    pulse.beat()


@pytest.mark.slow
def test_what_is_stopped_or_stands_still_is_killed_and_what_goes_on_is_not(cluster: None) -> None:
    said: list[str] = []
    both_told = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 2:
            both_told.set()

    with LaneWatch(LanesConfig(hang_s=8.0), say) as watch:
        make = ray.remote(Lane).options(num_cpus=0)
        lanes: dict[str, Any] = {
            name: make.remote(watch.book, name, name != "looping")
            for name in ("stopped", "looping", "fine")
        }
        pids = {name: ray.get(lane.pid.remote()) for name, lane in lanes.items()}
        ended = {name: lane.work.remote() for name, lane in lanes.items()}
        os.kill(pids["stopped"], signal.SIGSTOP)
        assert both_told.wait(60)
        for name in ("stopped", "looping"):
            with pytest.raises(ray.exceptions.RayActorError):
                ray.get(ended[name], timeout=30)
        assert ray.wait([ended["fine"]], timeout=0)[0] == []
    assert psutil.pid_exists(pids["fine"])
    assert len(said) == 2
    (stopped,) = (line for line in said if f"(process {pids['stopped']} on " in line)
    assert ", stopped by a signal) made no progress for " in stopped
    (looping,) = (line for line in said if f"(process {pids['looping']} on " in line)
    assert looping.startswith("the lane of looping (process ")
    assert "stopped by" not in looping
