"""A sweep that is interrupted or out of its budget stops there, and is gone on with later."""

import os
import signal
import time
from pathlib import Path

import pytest

from sweeps.ledger.records import LEDGER_NAME, read_records
from tests.forked import run_scpo, start_scpo
from tests.sweeps.stages.test_killed_often import count_lines, write_config


def purposes(run: Path) -> list[str]:
    return sorted({record.purpose for record in read_records(run)})


@pytest.mark.exhaustive
def test_a_sweep_stops_where_it_is_and_looks_at_no_test_users(
    tmp_path: Path, tiny_backbone: Path
) -> None:
    config = write_config(tmp_path, tiny_backbone, "random", str(tmp_path / "cache"))
    run = tmp_path / "run"
    files = {"out": tmp_path / "out", "err": tmp_path / "err"}
    sweep = ("sweep", config, "--out", run, "--set", "countries=[Arvandia]")
    driver = start_scpo(*sweep, **files)
    while count_lines(run / LEDGER_NAME) < 2 and not driver.ended():
        time.sleep(0.05)
    second = run_scpo(*sweep, "--resume")
    assert second.returncode == 2
    assert f"is being written by process {driver.process.pid} of" in second.stderr
    assert driver.process.pid is not None
    os.kill(driver.process.pid, signal.SIGINT)
    assert driver.wait(60) == 130, files["err"].read_text()
    said = files["err"].read_text()
    assert "with --resume to go on" in said
    assert "Traceback" not in said
    assert purposes(run) == ["search"]
    done = len(read_records(run))
    assert 2 <= done < 40

    spent = run_scpo(*sweep, "--resume", "--set", "search.max_wall_s=0.001")
    assert spent.returncode == 0, spent.stderr
    assert "The sweep stopped: search.max_wall_s of 0.001 s is over" in spent.stdout
    assert purposes(run) == ["search"]

    ended = run_scpo(*sweep, "--resume", "--set", "search.num_trials=1")
    assert ended.returncode == 0, ended.stderr
    assert purposes(run) == ["final", "search"]
    assert len(read_records(run)) == done + 2  # global, and the recommended setting
    assert all(record.tested_before == 0 for record in read_records(run))
