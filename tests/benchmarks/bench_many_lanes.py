"""How busy the driver keeps many lanes on several nodes, with trials that sleep.

The whole driver runs: studies, journal, Ray Tune, ledger, progress lines. Each node is a raylet of
its own on this machine, with declared CPUs; a lane is a real process, so that many need memory,
and its first trial waits until all are up.
Busy is the time slept by all lanes from the end of that first round to the last moment when all
have a trial, over lanes times that span. A lane that waits for the driver is not busy: with L
lanes and trials of T seconds the driver must serve one in T / L, `driver_ms` is what one took it
of CPU.
"""

import argparse
import io
import logging
import os
import shutil
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import ray
from bench_many_trials import StubLane
from bench_sharded_lane import COUNTRY, make_workspace
from figures import figure_line, machine
from ray.cluster_utils import Cluster
from rich.console import Console

from scpo.config import parse_config
from sweeps.config import SweepConfig
from sweeps.ledger.records import Ledger
from sweeps.stages.search import search_countries

NUM_NODES = 3
LANE_BYTES = 350e6  # of its own: mostly what importing torch takes
FREE_BYTES = 3e9  # left to others


class SleepingLane(StubLane):
    """A lane whose job is to sleep; the setting says nothing about how long."""

    def step(self) -> dict[str, Any]:
        up = Path(os.environ["BENCH_UP"])
        (up / str(os.getpid())).touch()
        while len(os.listdir(up)) < int(os.environ["BENCH_LANES"]):
            time.sleep(0.5)
        time.sleep(float(os.environ["BENCH_SLEEP_S"]))
        return super().step()


@dataclass(frozen=True)
class Ends:
    """When each trial ended, as the driver knew it, and CPU seconds of the driver till then."""

    wall_s: list[float]
    cpu_s: list[float]

    def note(self, line: str) -> None:
        """Take a line of progress; those of trials begin with a bracket."""
        if line.lstrip().startswith("["):
            self.wall_s.append(time.perf_counter())
            self.cpu_s.append(time.process_time())


def count_lanes(wanted: int) -> int:
    """Return as many lanes as memory holds, a multiple of the nodes."""
    free = psutil.virtual_memory().available - FREE_BYTES
    return max(NUM_NODES, min(wanted, int(free / LANE_BYTES)) // NUM_NODES * NUM_NODES)


def run(num_lanes: int, num_trials: int, sampler: str) -> Ends:
    """Search with lanes that sleep."""
    config = parse_config(
        SweepConfig,
        {
            "name": "lanes",
            "countries": [COUNTRY],
            "global_model": {"name": "written-by-hand"},
            "search": {"num_trials": num_trials, "sampler": sampler, "folds": 1},
            "lanes": {"num_lanes": num_lanes},
        },
        "bench_many_lanes.py",
    )
    ends = Ends([], [])
    plain = Console(file=io.StringIO())
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch("sweeps.lanes.tune_runner.DeviceLane", SleepingLane),
    ):
        root = Path(folder)
        workspace = make_workspace(root)
        with mock.patch("sweeps.progress.progress_table.TextConsole", return_value=plain):
            search_countries(config, workspace, Ledger(root / "run"), root / "run", ends.note)
    return ends


def busy_line(ends: Ends, num_lanes: int, sleep_s: float, asked: int) -> str:
    """Return the line of the busy share, after the first round of trials and before the last."""
    first, last = num_lanes, len(ends.wall_s) - num_lanes
    if last - first < num_lanes:
        raise ValueError(f"`trials >= 3 * lanes` must hold, but got {len(ends.wall_s)} trials.")
    span_s = ends.wall_s[last - 1] - ends.wall_s[first - 1]
    count = last - first
    return figure_line(
        f"{num_lanes} lanes on {NUM_NODES} nodes, trials of {sleep_s:g} s: time slept / wall time",
        count * sleep_s / (num_lanes * span_s),
        "fraction",
        reach=">= 0.9",
        against="1, always sleeping",
        on=machine("stub objective"),
        detail={
            "lanes_asked": asked,
            "trials": len(ends.wall_s),
            "span_s": span_s,
            "trials_a_s": count / span_s,
            "driver_ms": 1e3 * (ends.cpu_s[last - 1] - ends.cpu_s[first - 1]) / count,
            "wall_ms_a_trial": 1e3 * span_s / count,
        },
    )


def main() -> None:
    """Measure and print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lanes", type=int, default=48)
    parser.add_argument("--trials", type=int, default=960)
    parser.add_argument("--sleep", type=float, default=5.0, help="seconds")
    parser.add_argument("--sampler", default="tpe")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    num_lanes = count_lanes(arguments.lanes)
    os.environ |= {
        "RAY_AUTH_MODE": "disabled",
        "OMP_NUM_THREADS": "1",
        "BENCH_SLEEP_S": str(arguments.sleep),
        "BENCH_LANES": str(num_lanes),
        "BENCH_UP": tempfile.mkdtemp(),
    }
    cluster = Cluster()
    try:
        for _ in range(NUM_NODES):
            cluster.add_node(
                num_cpus=num_lanes // NUM_NODES,
                object_store_memory=100_000_000,
                include_dashboard=False,
            )
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        ends = run(num_lanes, arguments.trials, arguments.sampler)
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(os.environ["BENCH_UP"])
    print(busy_line(ends, num_lanes, arguments.sleep, arguments.lanes))


if __name__ == "__main__":
    main()
