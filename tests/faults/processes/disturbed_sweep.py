"""A sweep in a process of its own, what of it can be killed or stopped, and where it ends."""

import hashlib
import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml

from sweeps.ledger.records import LEDGER_NAME, read_records
from tests.forked import Forked, start_scpo
from tests.sweeps.stages.test_killed_often import COUNTRIES, count_lines
from tests.sweeps.stages.test_killed_often import write_config as write_search

HANG_S = 20.0
ACTOR, RANK = "Trainable.train", "RayTrainWorker"  # as Ray calls their processes
RAYLET, GCS = "raylet/raylet", "gcs/gcs_server"
LIMIT_S = 300.0  # until what must come has come
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")  # end a minute after their raylet


def write_config(folder: Path, backbone: Path, num_trials: int) -> Path:
    """Write a sweep of search, curves and finals, whose result is the same in any order."""
    search = {"num_trials": num_trials, "epochs": [4.0, 8.0]}
    path = write_search(folder, backbone, "random", str(folder / "cache"), **search)
    config = yaml.safe_load(path.read_text())
    config["training"]["precision"] = "fp32"
    lanes = {"num_lanes": 1, "cpus": 0.5, "hang_s": HANG_S}
    config |= {
        "lanes": lanes,
        "country_lanes": {COUNTRIES[1]: {**lanes, "workers": 2, "zero_stage": 2}},
        "curves": {"arms": ["full", "scpo"], "budgets": [0.5, 1.0]},
        "final": {"arms": ["full"]},
    }
    path.write_text(yaml.safe_dump(config))
    return path


@dataclass
class Sample:
    """What the driver held at a moment."""

    records: int
    memory: int  # bytes of its own, shared pages left out
    handles: int


@dataclass
class DisturbedSweep:
    """A sweep's driver, started as often as it takes."""

    config: Path
    run: Path
    driver: Forked = field(init=False)
    family: dict[int, psutil.Process] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)  # of the driver that runs

    @property
    def said(self) -> Path:
        return self.run.with_suffix(".err")

    @property
    def ledger(self) -> Path:
        return self.run / LEDGER_NAME

    def start(self) -> None:
        """Start it, or resume it."""
        self.samples.clear()
        self.family.clear()
        words = ("sweep", self.config, "--out", self.run, "--resume")
        self.driver = start_scpo(*words, err=self.said)

    def watch(self, seconds: float) -> bool:
        """Let it run; note its processes and what it holds. Return whether it goes on."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.driver.ended():
            self.note_family()
            self._sample()
            time.sleep(min(1.0, max(0.0, deadline - time.monotonic())))
        return not self.driver.ended()

    def note_family(self) -> None:
        assert self.driver.process.pid is not None
        try:
            driver = psutil.Process(self.driver.process.pid)
            found = [driver, *driver.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        self.family.update({process.pid: process for process in found})

    def _sample(self) -> None:
        driver = self.family.get(self.driver.process.pid or 0)
        if driver is None or not self.ledger.exists():
            return
        try:
            held = driver.memory_info()
            sample = Sample(count_lines(self.ledger), held.rss - held.shared, driver.num_fds())
        except psutil.Error:
            return
        self.samples.append(sample)

    def living(self, name: str = "") -> list[psutil.Process]:
        """Return the living processes of the family whose command line holds this name."""
        self.note_family()
        return [process for process in list(self.family.values()) if _is_alive(process, name)]

    def workers(self) -> list[int]:
        """Return the processes of the family that train or hold devices; Ray's agents do not."""
        return [
            process.pid
            for process in self.living()
            if not any(name in " ".join(process.cmdline()) for name in AGENTS)
        ]

    def wait_for(self, name: str, at_most_s: float = 30.0) -> int:
        """Return the number of a process of this name, 0 where none came in time."""
        deadline = time.monotonic() + at_most_s
        while time.monotonic() < deadline and not self.driver.ended():
            if found := self.living(name):
                return found[0].pid
            time.sleep(0.05)
        return 0

    def wait_until_gone(self, pids: list[int]) -> float:
        """Return the seconds until none of these processes lives."""
        started = time.monotonic()
        processes = [self.family[pid] for pid in pids]
        self._await(lambda: not any(map(_is_alive, processes)), f"{pids} stayed")
        return time.monotonic() - started

    def wait_for_record(self) -> None:
        known = count_lines(self.ledger)
        self._await(
            lambda: count_lines(self.ledger) > known or self.driver.ended(), "no record came"
        )

    def _await(self, ready: Callable[[], bool], why: str) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not ready():
            assert time.monotonic() < deadline, f"{why}: {self.said.read_text()[-2000:]}"
            time.sleep(0.05)

    def limit_files(self, room: int) -> None:
        """Let no file of the driver grow beyond its size now and some bytes, as a full disk."""
        limit = self.ledger.stat().st_size + room
        resource.prlimit(self.driver.process.pid or 0, resource.RLIMIT_FSIZE, (limit, limit))


def _is_alive(process: psutil.Process, name: str = "") -> bool:
    try:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return name in " ".join(process.cmdline())
    except psutil.Error:
        return False


def result_of(run: Path) -> tuple[str, int]:
    """Return a hash of all that a sweep found, times left out, and the number of records."""
    records = read_records(run)
    found = {
        record.trial_id: [record.purpose, record.state, record.config, record.objectives]
        for record in records
    }
    assert len(found) == len(records), "a record stands twice"
    models = {
        path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in run.glob("models/*/model.safetensors")
    }
    text = json.dumps([found, models], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest(), len(records)
