"""Lanes of which a process is stopped while it trains: told, killed, and the training done."""

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from sweeps.config import LanesConfig
from sweeps.jobs.job import Job
from sweeps.lanes.tune_runner import run_trials
from sweeps.ledger.records import Ledger, TrialRecord, read_records
from sweeps.run.workspace import Workspace
from sweeps.search.job_source import JobList

ACTOR, RANK = "Trainable.train", "RayTrainWorker"  # as Ray calls their processes
ONE = LanesConfig(hang_s=15.0, num_lanes=1)
TWO = LanesConfig(hang_s=15.0, num_lanes=1, workers=2, cpus=0.9)


def stop_one(name: str, run: Path, lanes: LanesConfig, stopped: list[int]) -> None:
    """Stop a process of this name that trains."""
    wait = threading.Event().wait
    while lanes.workers > 1 and not list((run / ".sharded").glob("checkpoints/*/step-*")):
        wait(0.05)
    while True:
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # it ended meanwhile
                if name in " ".join(child.cmdline()):
                    wait(1.5 if lanes.workers == 1 else 0.0)
                    os.kill(child.pid, signal.SIGSTOP)
                    stopped.append(child.pid)
                    print(f"stopped {child.pid} at {time.time():.1f}", flush=True)
                    return
        wait(0.05)


def run_with_one_stopped(
    workspace: Workspace, run: Path, job: Job, lanes: LanesConfig, name: str
) -> list[TrialRecord]:
    """Run a job, of which a process of this name is stopped, and return what was told of it."""
    stopped: list[int] = []
    stopper = threading.Thread(target=stop_one, args=(name, run, lanes, stopped), daemon=True)
    stopper.start()
    told: list[TrialRecord] = []
    run_trials(JobList([job]), workspace, lanes, Ledger(run), run, told.append)
    stopper.join()
    assert not psutil.pid_exists(stopped[0])
    return told


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("lanes", "name", "who"),
    [(ONE, ACTOR, "the lane of "), (TWO, RANK, "of the lane of "), (TWO, ACTOR, "the lane ")],
    ids=["lane", "rank", "actor"],
)
@pytest.mark.parametrize("purpose", ["curve", "final"])
def test_what_is_stopped_in_mid_training_costs_no_training(
    cluster: None,
    workspace: Workspace,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    purpose: str,
    lanes: LanesConfig,
    name: str,
    who: str,
) -> None:
    model = tmp_path / "models" / "arvandia"
    save_to = str(model) if purpose == "final" else None
    job = Job("long", purpose, "Arvandia", "full", 1e-3, 40.0, seed=0, save_to=save_to)
    told = run_with_one_stopped(workspace, tmp_path, job, lanes, name)
    assert [(record.trial_id, record.state, record.error) for record in told] == [
        ("long", "complete", None)
    ]
    assert read_records(tmp_path) == told
    assert model.is_dir() == (purpose == "final")
    [line] = [line for line in capfd.readouterr().err.splitlines() if "made no progress" in line]
    assert who in line
    assert ", stopped by a signal) made no progress for " in line


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_lane_that_is_stopped_is_told_within_a_minute(
    cluster: None,
    workspace: Workspace,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """By the lines of the watch, which name seconds since the last sign of life."""
    job = Job("long", "curve", "Arvandia", "full", 1e-3, 40.0, seed=0)
    lanes = ONE.model_copy(update={"hang_s": 65.0})
    [record] = run_with_one_stopped(workspace, tmp_path, job, lanes, ACTOR)
    assert record.state == "complete"
    lines = [line for line in capfd.readouterr().err.splitlines() if "no progress" in line]
    assert len(lines) == 2
    assert "; it is replaced after 65 s (lanes.hang_s)." in lines[0]
    assert 55 <= float(lines[0].partition("no progress for ")[2].split()[0]) <= 60
