"""`scpo.sweep` without a cluster: what it makes of its arguments, and what it gives back."""

import doctest
import os
import signal
from pathlib import Path

import numpy as np
import pytest

import scpo
from scpo.config import dump_config, load_config
from sweeps.api import configurations, start
from sweeps.api.configurations import CONFIGURATIONS, find_configuration
from sweeps.config import HeadsConfig, SweepConfig
from sweeps.ledger.end_file import END_NAME
from sweeps.ledger.records import Ledger
from sweeps.tracking import delivery

VALUES = {
    "name": "mine",
    "countries": ["Chile", "Mexico", "South Africa"],
    "data": {"source": "synthetic"},
    "global_model": {"backbone": "none"},
}


@pytest.fixture
def swept(monkeypatch, records):
    """Every call of `run_sweep`, which writes the records that a real one would."""
    calls = []

    def run_sweep(config, run, *, resume, say, mirror, on_ledger):
        calls.append((config, resume, mirror))
        (run / "config.yaml").write_text(dump_config(config))
        ledger = Ledger(run)
        on_ledger(ledger)
        for record in records[:3]:
            ledger.append(record)
        ledger.listeners = []
        (run / END_NAME).unlink()
        ledger.path.write_text("".join(r.model_dump_json() + "\n" for r in records))
        return "max_wall_s" if config.search.max_wall_s else None

    monkeypatch.setattr(start, "run_sweep", run_sweep)
    return calls


def test_a_sweep_gives_back_its_run_and_tells_of_every_record(swept, records, tmp_path):
    told = []
    run = scpo.sweep(
        VALUES,
        tmp_path / "run",
        overrides={"search.num_trials": 3, "split": {"seed": 5}, "search.sampler": "random"},
        callbacks=[told.append],
    )
    ((config, resume, mirror),) = swept
    assert (config.search.num_trials, config.split.seed, config.search.sampler) == (3, 5, "random")
    assert (resume, mirror, run.stopped) == (False, None, None)
    assert told == records[:3]
    assert run.recommended("Mexico")["country"] == "Mexico"
    assert (tmp_path / "run" / "leaderboard.csv").is_file()
    assert run.report == tmp_path / "run" / "report.html"


class KeptTracker:
    """Keeps the names of trainings and files that it is sent."""

    def __init__(self):
        self.sent = []

    def open(self, sweep):
        pass

    def send_trial(self, trial):
        self.sent.append(trial.name)

    def send_files(self, files):
        self.sent += [file.name for file in files]

    def close(self, *, finished):
        self.sent.append(finished)


def test_a_sweep_that_stopped_says_so_and_trackers_take_every_record_and_the_files(
    swept, records, tmp_path, monkeypatch
):
    kept = KeptTracker()
    monkeypatch.setitem(delivery._TRACKERS, "mlflow", ("json", lambda: kept))
    values = {**VALUES, "report_to": ["mlflow"], "search": {"max_wall_s": 1}}
    run = scpo.sweep(values, tmp_path / "run", resume=True)
    assert (run.stopped, swept[0][1]) == ("max_wall_s", True)
    assert kept.sent[:3] == [record.trial_id for record in records[:3]]
    assert {"report.html", "leaderboard.csv", True} <= set(kept.sent[3:])


def test_a_tracker_that_fails_is_told_of_where_no_line_is_said(
    swept, tmp_path, monkeypatch, capsys
):
    kept = KeptTracker()
    monkeypatch.setitem(delivery._TRACKERS, "mlflow", ("json", lambda: kept))
    monkeypatch.setattr(kept, "open", lambda sweep: 1 / 0)
    scpo.sweep({**VALUES, "report_to": ["mlflow"]}, tmp_path / "run", say=lambda line: None)
    (line,) = capsys.readouterr().err.splitlines()  # as with --json
    assert line.startswith("scpo: mlflow: ZeroDivisionError: division by zero. ")


def test_names_files_and_values_are_configurations(tmp_path, monkeypatch):
    named = start.resolve_configuration("demo")
    assert named == load_config(SweepConfig, CONFIGURATIONS / "demo.yaml")
    file = tmp_path / "mine.yaml"
    file.write_text(dump_config(start.resolve_configuration(VALUES)))
    assert start.resolve_configuration(file) == start.resolve_configuration(VALUES)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").write_text(file.read_text())
    assert start.resolve_configuration("demo").name == "mine"  # a file comes first
    with pytest.raises(
        FileNotFoundError, match=r"No configuration 'prsm': .* Did you mean 'prism'"
    ):
        find_configuration("prsm")
    with pytest.raises(ValueError, match="unknown key 'serch'; did you mean 'search'"):
        start.resolve_configuration({**VALUES, "serch": {}})
    with pytest.raises(ValueError, match=r"search\.num_trials"):
        start.resolve_configuration(VALUES, {"search.num_trials": 0})


def test_examples_run():
    assert doctest.testmod(configurations).failed == 0
    assert doctest.testmod(start).failed == 0


def test_overrides_leave_the_callers_values_alone_and_may_be_of_numpy_or_empty():
    values = {**VALUES, "search": {"num_trials": 8}}
    given = {"search.seed": np.int64(3), "cache": Path("kept"), "final": {"heads": {}}}
    config = start.resolve_configuration(values, {**given, "search.num_trials": 4, "curves": {}})
    assert (config.search.num_trials, config.search.seed, config.cache) == (4, 3, "kept")
    assert config.final.heads == HeadsConfig()
    assert values == {**VALUES, "search": {"num_trials": 8}}
    demo = start.resolve_configuration("demo")
    assert start.resolve_configuration("demo", {"search": {}}) == demo
    with pytest.raises(ValueError, match=r"countries: Input should be a list"):
        start.resolve_configuration(VALUES, {"countries": {"Chile"}})


def test_a_sweep_leaves_signals_and_variables_to_the_caller(swept, monkeypatch, tmp_path):
    run_sweep = start.run_sweep

    def as_tune_does(*args, **options):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, lambda *_: None)
        os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = os.environ["PYTHONBREAKPOINT"] = "other"
        return run_sweep(*args, **options)

    monkeypatch.setattr(start, "run_sweep", as_tune_does)
    monkeypatch.delenv("TUNE_GLOBAL_CHECKPOINT_S", raising=False)
    monkeypatch.setenv("PYTHONBREAKPOINT", "mine")
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    scpo.sweep(VALUES, tmp_path / "run", say=lambda _: None)
    after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    assert after == before
    assert "TUNE_GLOBAL_CHECKPOINT_S" not in os.environ
    assert os.environ["PYTHONBREAKPOINT"] == "mine"
