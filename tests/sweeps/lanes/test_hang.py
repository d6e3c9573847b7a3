"""Lanes whose processes are stopped while they train: told, killed, and replaced."""

import os
import signal
import threading
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

LANE = "Trainable.train"  # as Ray calls a process that trains


def stop_one(name: str, stopped: list[int]) -> None:
    """Wait for a process of this name that has computed for a second, and stop it."""
    while not stopped:
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # it ended meanwhile
                if name in " ".join(child.cmdline()):
                    threading.Event().wait(1.5)
                    os.kill(child.pid, signal.SIGSTOP)
                    stopped.append(child.pid)
                    return
        threading.Event().wait(0.05)


@pytest.mark.slow
def test_a_lane_that_is_stopped_is_replaced_and_its_training_done(
    cluster: None, workspace: Workspace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = Job("long", "curve", "Arvandia", "full", 1e-3, 40.0, seed=0)
    stopped: list[int] = []
    stopper = threading.Thread(target=stop_one, args=(LANE, stopped), daemon=True)
    stopper.start()
    told: list[TrialRecord] = []
    lanes = LanesConfig(hang_s=5.0, num_lanes=1)
    run_trials(JobList([job]), workspace, lanes, Ledger(tmp_path), tmp_path, told.append)
    assert [(record.trial_id, record.state) for record in read_records(tmp_path)] == [
        ("long", "complete")
    ]
    assert len(told) == 1
    assert not psutil.pid_exists(stopped[0])
    said = capfd.readouterr().err
    assert f"the lane of long (process {stopped[0]} on " in said
    assert ", stopped by a signal) made no progress for " in said
