"""A trial that gets no more memory fails alone, or is trained again; all others are as ever."""

import resource
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from sweeps.ledger.records import read_records
from tests.faults.processes.disturbed_sweep import ACTOR, DisturbedSweep, write_config

NUM_TRIALS = 8
ROOM = 1 << 20  # bytes that its process may still take


def starve(pid: int) -> None:
    """Let a process take no more memory than it has, and some."""
    room = psutil.Process(pid).memory_info().vms + ROOM
    resource.prlimit(pid, resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))


def feed(pid: int) -> None:
    if psutil.pid_exists(pid):
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(pid, resource.RLIMIT_AS, unlimited)


@pytest.mark.slow
@pytest.mark.faults
def test_a_trial_without_memory_fails_alone(
    tmp_path: Path, tiny_backbone: Path, tell: Callable[..., None]
) -> None:
    config = write_config(tmp_path, tiny_backbone, NUM_TRIALS)
    sweep = DisturbedSweep(config, tmp_path / "run")
    sweep.start()
    sweep.wait_for_record()
    pid = sweep.wait_for(ACTOR)
    assert pid
    starve(pid)
    started = time.monotonic()
    while psutil.pid_exists(pid) and not has_failed(sweep.run) and not sweep.driver.ended():
        time.sleep(0.1)
    noticed_s = time.monotonic() - started
    feed(pid)
    code = sweep.driver.wait(600)
    said = sweep.said.read_text()
    records = [record for record in read_records(sweep.run) if record.purpose == "search"]
    states = Counter(record.state for record in records)
    errors = [str(record.error) for record in records if record.state == "failed"]
    bad = [] if code == 0 and "Traceback" not in said else [f"{code}: {said[-2000:]}"]
    if states["complete"] < 2 * NUM_TRIALS - 1 or len(records) != 2 * NUM_TRIALS:
        bad.append(f"{states}: {errors}")
    tell(
        "a trial that gets no more memory",
        1,
        bad,
        noticed_s=noticed_s,
        says=errors[0][:150] if errors else "its lane died, and it was trained again",
    )


def has_failed(run: Path) -> bool:
    return any(record.state == "failed" for record in read_records(run))
