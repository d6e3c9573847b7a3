"""A run followed from its folder, on a terminal and in lines, until its sweep ends."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from scpo.files.atomic import MARKER
from scpo.files.output_folder import LOCK, STALE_S
from sweeps.ledger.records import Ledger, TrialRecord
from sweeps.progress import watch
from sweeps.progress.watch import describe_state, is_running, watch_run

CONFIG = """
name: demo
countries: [Mexico, Chile]
global_model: {name: some/model}
search: {num_trials: 5}
curves: {arms: [full, scpo], budgets: [0.5, 1.0]}
final: {arms: [full], seeds: [1, 2]}
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path


def scored(trial: Callable[..., TrialRecord], number: int, **changes: object) -> TrialRecord:
    """A trial at half past nine, a minute after the one before it, of 30 s each."""
    record = trial(f"mexico-{number:04d}", [3, 4], 30.0)
    values = {
        "objectives": {"validation_accuracy": 0.35, "pairs_trained": 30.0},
        "times": {"started": f"2026-05-04T09:3{number}:00+00:00", "wall_s": 30.0},
    }
    return record.model_copy(update={**values, **changes})


def test_once_it_shows_every_stage_and_what_failed(
    run: Path, trial: Callable[..., TrialRecord]
) -> None:
    ledger = Ledger(run)
    ledger.append(scored(trial, 0))
    ledger.append(scored(trial, 1))
    ledger.append(trial("mexico-0002", [], 0.0, state="failed"))
    ledger.append(scored(trial, 3, trial_id="mexico-curve-1", purpose="curve", state="complete"))
    out = io.StringIO()
    watch_run(run, Console(file=out, width=120), once=True)
    text = out.getvalue()
    # 90 s from the first start to the last end of 3 of 10 trainings
    assert "3 of 10 trainings, 210 s left" in text
    (mexico,) = (line for line in text.splitlines() if "Mexico" in line)
    cells = [cell.strip() for cell in mexico.strip("\u2502").split("\u2502")]
    assert cells == ["Mexico", "3/5", "35.0 %", "2", "0", "1"]
    assert "curves: 1 of 8 trainings" in text
    assert "final: 0 of 10 models" in text  # global, and full and tuned with two seeds, of two
    assert "mexico-0002 scpo_tuned: failed: boom" in text
    assert "demo is not running" in text


def test_a_sweep_that_has_not_trained_yet_is_shown(run: Path) -> None:
    out = io.StringIO()
    watch_run(run, Console(file=out, width=120))
    assert "0 of 10 trainings" in out.getvalue()


def test_it_runs_while_its_lock_is_touched(run: Path) -> None:
    assert not is_running(run)
    (run / LOCK).write_text("{}")
    assert is_running(run)
    old = time.time() - STALE_S - 1
    os.utime(run / LOCK, (old, old))
    assert not is_running(run)


def test_a_driver_that_hangs_is_told(run: Path) -> None:
    lock, marker = run / LOCK, run / MARKER
    own = {"user": "ann", "host": "far-away", "pid": 4711, "since": "2026-05-04T09:30:00+00:00"}
    lock.write_text(json.dumps(own))
    marker.write_text("{}")
    assert describe_state(run) == "is running"

    long_ago = time.time() - 400
    os.utime(marker, (long_ago, long_ago))
    assert describe_state(run) == (
        "is running, but process 4711 of ann on far-away has made no progress for 400 s"
    )

    stopped = time.time() - STALE_S - 10
    os.utime(lock, (stopped, stopped))
    words = "hangs, or its machine is gone: process 4711 of ann on far-away gave no sign of life"
    assert describe_state(run) == f"{words} for 70 s. End it, then resume with --resume"

    ended = subprocess.Popen(["true"])
    ended.wait()
    lock.write_text(json.dumps({**own, "host": socket.gethostname(), "pid": ended.pid}))
    assert describe_state(run) == "is not running"


def test_a_stopped_sweep_is_told_once_its_lock_is_old(
    run: Path,
) -> None:
    """A real process that holds the lock and is stopped."""
    program = (
        "import sys; from pathlib import Path; from scpo.files.output_folder import one_writer\n"
        "with one_writer(Path(sys.argv[1]), 'run'): print('held', flush=True); sys.stdin.read()"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", program, str(run / LOCK)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    assert writer.stdin is not None
    assert writer.stdout.readline() == "held\n"
    os.kill(writer.pid, signal.SIGSTOP)
    assert describe_state(run) == "is running"
    stopped = time.time() - STALE_S - 1
    os.utime(run / LOCK, (stopped, stopped))
    out = io.StringIO()
    watch_run(run, Console(file=out, width=200))
    assert f"demo hangs, or its machine is gone: process {writer.pid} of " in out.getvalue()
    os.kill(writer.pid, signal.SIGCONT)
    writer.stdin.close()
    assert writer.wait(30) == 0
    assert describe_state(run) == "is not running"
    writer.stdout.close()


@pytest.mark.parametrize("terminal", [True, False])
def test_it_follows_until_the_sweep_ends(
    run: Path,
    trial: Callable[..., TrialRecord],
    terminal: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "_STEP_S", 0.02)
    (run / LOCK).write_text("{}")
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=terminal)
    thread = threading.Thread(target=watch_run, args=(run, console))
    thread.start()
    ledger = Ledger(run)
    ledger.append(scored(trial, 0))
    time.sleep(0.2)
    ledger.append(scored(trial, 1))
    (run / LOCK).unlink()
    thread.join(10)
    assert not thread.is_alive()
    text = out.getvalue()
    assert "2 of 10 trainings" in text
    assert text.rstrip().endswith("demo is not running") or terminal
    if not terminal:
        assert text.count("mexico-0000 scpo_tuned: 35.0 % on validation") == 1
        assert text.count("mexico-0001 scpo_tuned: 35.0 % on validation") == 1


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Is .* the folder of a sweep"):
        watch_run(tmp_path, Console(file=io.StringIO()))
