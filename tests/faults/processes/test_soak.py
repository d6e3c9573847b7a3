"""A sweep under a fault a minute ends where the same sweep ends that nobody disturbed.

Its first half is met by faults that end the driver, which is then resumed; the second half by
faults of lanes, so that one driver lives long enough to see whether it grows. `make faults` goes
on for SCPO_SOAK_S seconds, an hour by default, with sweep after sweep.
"""

import itertools
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import pytest

from tests.faults.processes.disturbed_sweep import (
    ACTOR,
    GCS,
    HANG_S,
    RANK,
    RAYLET,
    DisturbedSweep,
    Sample,
    result_of,
    write_config,
)

Told = tuple[str, int, list[str], float | None, str]  # a row: kind, times, bad, seconds, words
GROWTH = 1.05  # of memory and handles, at most
NUM_TRIALS = int(os.environ.get("SCPO_SOAK_TRIALS", "120"))  # a country, in a sweep of the hour
SECONDS = float(os.environ.get("SCPO_SOAK_S", "3600"))


def kill_lane(sweep: DisturbedSweep) -> float | None:
    return _replace(sweep, ACTOR, signal.SIGKILL)


def hang_lane(sweep: DisturbedSweep) -> float | None:
    return _replace(sweep, ACTOR, signal.SIGSTOP)


def kill_rank(sweep: DisturbedSweep) -> float | None:
    return _replace(sweep, RANK, signal.SIGKILL)


def hang_rank(sweep: DisturbedSweep) -> float | None:
    return _replace(sweep, RANK, signal.SIGSTOP)


def _replace(sweep: DisturbedSweep, name: str, number: signal.Signals) -> float | None:
    """Strike a process of a lane, and return the seconds until it is gone."""
    pid = sweep.wait_for(name)
    if not pid:
        return None
    os.kill(pid, number)
    return sweep.wait_until_gone([pid])


def kill_driver(sweep: DisturbedSweep) -> float:
    """Kill the driver alone, as the kernel does that is out of memory; its workers must end."""
    pid = sweep.driver.process.pid
    assert pid is not None
    workers = sweep.workers()
    os.kill(pid, signal.SIGKILL)
    gone_s = sweep.wait_until_gone(workers)
    sweep.driver.process.join(10)
    return gone_s


def terminate(sweep: DisturbedSweep) -> float:
    return _end(sweep, signal.SIGTERM, 143)


def interrupt(sweep: DisturbedSweep) -> float:
    return _end(sweep, signal.SIGINT, 130)


def _end(sweep: DisturbedSweep, number: signal.Signals, code: int) -> float:
    sweep.note_family()
    started = time.monotonic()
    sweep.driver.signal(number)
    assert sweep.driver.wait(60) == code, sweep.said.read_text()[-2000:]
    assert "with --resume to go on" in sweep.said.read_text()
    sweep.wait_until_gone([*sweep.family])
    return time.monotonic() - started


def kill_raylet(sweep: DisturbedSweep) -> float:
    return _kill_part(sweep, RAYLET)


def kill_gcs(sweep: DisturbedSweep) -> float:
    return _kill_part(sweep, GCS)


def _kill_part(sweep: DisturbedSweep, name: str) -> float:
    """Kill a part of the cluster without which no lane works; the driver must say so and end."""
    workers = sweep.workers()
    os.kill(sweep.wait_for(name), signal.SIGKILL)
    started = time.monotonic()
    code = sweep.driver.wait(120)
    said = sweep.said.read_text()
    assert code == 2, f"{code}: {said[-2000:]}"
    assert "--resume" in said, said[-2000:]
    noticed_s = time.monotonic() - started
    sweep.wait_until_gone(workers)
    return noticed_s


def fill_disk(sweep: DisturbedSweep) -> float:
    """Let no file of the driver grow any more; it must say so and end."""
    sweep.limit_files(40)
    started = time.monotonic()
    code = sweep.driver.wait(120)
    assert code == 2, f"{code}: {sweep.said.read_text()[-2000:]}"
    return time.monotonic() - started


@dataclass(frozen=True)
class Fault:
    """A kind of fault: how it strikes, and within how many seconds it must be noticed.

    `strike` returns after how many it was, None where what it strikes is not there.
    """

    kind: str
    strike: Callable[[DisturbedSweep], float | None]
    within_s: float


OF_LANES = (
    Fault("SIGKILL of a lane", kill_lane, 10.0),
    Fault("SIGSTOP of a lane", hang_lane, HANG_S + 50.0),
    Fault("SIGKILL of a rank of a sharded lane", kill_rank, 10.0),
    Fault("SIGSTOP of a rank of a sharded lane", hang_rank, HANG_S + 50.0),
)
OF_DRIVERS = (
    Fault("SIGKILL of a sweep's driver alone", kill_driver, 10.0),
    Fault("SIGTERM to a sweep", terminate, 10.0),
    Fault("a dead raylet", kill_raylet, 15.0),
    Fault("SIGINT to a sweep", interrupt, 10.0),
    Fault("a dead GCS", kill_gcs, 15.0),
    Fault("a full disk in mid-sweep", fill_disk, 60.0),
)


@dataclass
class Soak:
    """What was injected, and how soon it was noticed."""

    every_s: float
    noticed: dict[Fault, list[float]] = field(default_factory=dict)
    late: dict[Fault, list[str]] = field(default_factory=dict)
    growth: list[str] = field(default_factory=list)
    grown: list[str] = field(default_factory=list)  # more than may be

    def disturb(self, sweep: DisturbedSweep, faults: "itertools.cycle[Fault]") -> None:
        """Inject the next fault, and resume the sweep where it ended the driver."""
        sweep.wait_for_record()  # it trains again
        if sweep.driver.ended():
            return
        fault = next(faults)
        noticed_s = fault.strike(sweep)
        if noticed_s is None:
            return
        self.noticed.setdefault(fault, []).append(noticed_s)
        print(f"{time.strftime('%X')} {fault.kind}: {noticed_s:.1f} s", flush=True)
        if noticed_s > fault.within_s:
            self.late.setdefault(fault, []).append(f"noticed after {noticed_s:.0f} s")
        if sweep.driver.ended():
            sweep.start()

    def end_of(
        self,
        sweep: DisturbedSweep,
        half: int,
        of_drivers: "itertools.cycle[Fault]",
        of_lanes: "itertools.cycle[Fault]",
    ) -> int:
        """Disturb a sweep until it has ended, and return its exit code."""
        sweep.start()
        while sweep.watch(self.every_s):
            first = not sweep.samples or sweep.samples[-1].records < half
            self.disturb(sweep, of_drivers if first else of_lanes)
        code = sweep.driver.wait(10)
        assert code == 0, f"{code}: {sweep.said.read_text()[-3000:]}"
        self._measure(sweep.samples)
        return code

    def _measure(self, samples: list[Sample]) -> None:
        """Compare what the last driver held in its last quarter with its second."""
        quarter = len(samples) // 4
        if quarter < 10:
            return  # too short a life to tell
        early, late = samples[quarter : 2 * quarter], samples[3 * quarter :]
        for what in ("memory", "handles"):
            before, after = (median(getattr(s, what) for s in some) for some in (early, late))
            self.growth.append(f"{what} {after / before:.2f}")
            if after > before * GROWTH:
                self.grown.append(f"{what}: {before} -> {after}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_trials", "every_s", "seconds"),
    [
        pytest.param(8, 20.0, 30.0, marks=pytest.mark.exhaustive, id="few"),
        pytest.param(NUM_TRIALS, 60.0, SECONDS, marks=pytest.mark.faults, id="full"),
    ],
)
def test_a_fault_a_minute_changes_nothing(
    num_trials: int,
    every_s: float,
    seconds: float,
    tmp_path: Path,
    tiny_backbone: Path,
    tell: Callable[..., None],
) -> None:
    config = write_config(tmp_path, tiny_backbone, num_trials)
    quiet = DisturbedSweep(config, tmp_path / "quiet")
    began = time.monotonic()
    quiet.start()
    assert quiet.driver.wait(3600) == 0, quiet.said.read_text()[-3000:]
    quiet_s = time.monotonic() - began
    expected, num_records = result_of(quiet.run)

    soak, began, rounds = Soak(every_s), time.monotonic(), 0
    of_drivers, of_lanes = itertools.cycle(OF_DRIVERS), itertools.cycle(OF_LANES)
    while time.monotonic() - began < seconds:
        rounds += 1
        sweep = DisturbedSweep(config, tmp_path / f"run-{rounds}")
        soak.end_of(sweep, num_records // 2, of_drivers, of_lanes)
        assert result_of(sweep.run) == (expected, num_records)
    took_s = time.monotonic() - began
    says = (
        f"{rounds} sweeps in {took_s / 60:.0f} min, goodput {rounds * quiet_s / took_s:.2f}, "
        f"last drivers grew: {', '.join(soak.growth) or 'too short to tell'}"
    )
    total = sum(map(len, soak.noticed.values()))
    rows: list[Told] = [("a fault a minute, sweep after sweep", total, soak.grown, None, says)]
    says = f"a sweep's result is the undisturbed one's, {expected[:12]}"
    for fault, noticed in soak.noticed.items():
        late = soak.late.get(fault, [])
        rows.append((fault.kind, len(noticed), late, median(noticed), says))
    tell_all(tell, rows)


def tell_all(tell: Callable[..., None], rows: list[Told]) -> None:
    """Add every row, then fail for those that hold something bad."""
    wrong = []
    for kind, times, bad, noticed_s, says in rows:
        try:
            tell(kind, times, bad, noticed_s=noticed_s, says=says)
        except AssertionError as error:
            wrong.append(f"{kind}: {error}")
    assert not wrong, wrong
