"""Records reach trackers by a thread each; one that fails or hangs costs the sweep nothing."""

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from sweeps.ledger.records import Ledger, TrialRecord
from sweeps.tracking import delivery, reporting
from sweeps.tracking.delivery import check_installed, lock_of, run_id, send_run
from sweeps.tracking.mlflow_tracker import MlflowTracker
from sweeps.tracking.reporting import Reporting
from sweeps.tracking.sent_values import SentSweep, SentTrial


class FakeTracker:
    """Keeps what it is sent in lists that all of its sessions share."""

    def __init__(self) -> None:
        self.sweeps: list[SentSweep] = []
        self.trials: list[SentTrial] = []
        self.texts: dict[str, str] = {}
        self.ends: list[bool] = []
        self.on_trial: Callable[[SentTrial], None] = lambda trial: None

    def open(self, sweep: SentSweep) -> None:
        self.sweeps.append(sweep)

    def send_trial(self, trial: SentTrial) -> None:
        self.on_trial(trial)
        self.trials.append(trial)

    def send_files(self, files: Sequence[Path]) -> None:
        self.texts |= {file.name: file.read_text(encoding="utf-8") for file in files}

    def close(self, *, finished: bool) -> None:
        self.ends.append(finished)

    @property
    def names(self) -> list[str]:
        return [trial.name for trial in self.trials]


@pytest.fixture
def trackers(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeTracker]:
    """Stand-ins for two trackers, whose packages need not be installed."""
    fakes = {"mlflow": FakeTracker(), "wandb": FakeTracker()}
    made = {name: ("json", lambda fake=fake: fake) for name, fake in fakes.items()}
    monkeypatch.setattr(delivery, "_TRACKERS", made)
    return fakes


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("name: demo\nsearch:\n  num_trials: 2\n")
    return tmp_path


def end_of(fake: FakeTracker) -> tuple[list[str], list[bool]]:
    return fake.names, fake.ends


def test_every_record_reaches_every_tracker_and_files_come_last(
    run: Path, trial: Callable[..., TrialRecord], trackers: dict[str, FakeTracker]
) -> None:
    said: list[str] = []
    with Reporting(("mlflow", "wandb"), run, said.append) as found:
        ledger = Ledger(run)
        found.listen(ledger)
        ledger.append(trial("mexico-0000", [3, 4], 30.0))
        ledger.append(trial("mexico-0001", [], 0.0, state="failed"))
        (run / "report.html").write_text("<p> token=abcdefgh </p>")
        (run / "notes.txt").write_text("not a result")
        (run / "user_weights.csv").write_text("country,user\nMexico,m-17\n")
    for fake in trackers.values():
        assert end_of(fake) == (["mexico-0000", "mexico-0001"], [True])
        assert [trial.number for trial in fake.trials] == [0, 1]
        assert fake.texts == {"report.html": "<p> token=*** </p>"}
        (sweep,) = fake.sweeps
        assert (sweep.run, sweep.name) == (ledger.run, "demo")
        assert sweep.settings == {"name": "demo", "search.num_trials": 2}
    assert said == []
    assert (run / "report.html").read_text() == "<p> token=abcdefgh </p>"


def test_one_that_fails_is_told_once_and_the_other_goes_on(
    run: Path, trial: Callable[..., TrialRecord], trackers: dict[str, FakeTracker]
) -> None:
    def fail(sent: SentTrial) -> None:
        raise ConnectionError("no route to\nhost; token=abcdefghijkl")

    trackers["mlflow"].on_trial = fail
    said: list[str] = []
    with Reporting(("mlflow", "wandb"), run, said.append) as found:
        ledger = Ledger(run)
        found.listen(ledger)
        for number in range(3):
            ledger.append(trial(f"mexico-{number:04d}", [3, 4], 30.0))
    (line,) = said
    assert line.startswith("mlflow: ConnectionError: no route to host; token=***. The sweep does")
    assert line.endswith(f"scpo track {run} --to mlflow")
    assert len(trackers["wandb"].trials) == 3
    assert len(ledger.read()) == 3


def test_one_that_hangs_delays_no_record_and_is_not_waited_for(
    run: Path,
    trial: Callable[..., TrialRecord],
    trackers: dict[str, FakeTracker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporting, "_PATIENCE_S", 0.2)
    never = threading.Event()
    trackers["mlflow"].on_trial = lambda sent: never.wait(60) and None
    said: list[str] = []
    started = time.monotonic()
    with Reporting(("mlflow",), run, said.append) as found:
        ledger = Ledger(run)
        found.listen(ledger)
        for number in range(3):
            ledger.append(trial(f"mexico-{number:04d}", [3, 4], 30.0))
        appended = time.monotonic()
    assert appended - started < 5
    assert time.monotonic() - appended < 10
    (line,) = said
    assert line.startswith("mlflow: does not answer; not waited for after 0 s. ")
    never.set()


def test_a_slow_one_is_waited_for_while_it_takes_records(
    run: Path,
    trial: Callable[..., TrialRecord],
    trackers: dict[str, FakeTracker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporting, "_PATIENCE_S", 0.5)
    trackers["mlflow"].on_trial = lambda sent: time.sleep(0.15)
    said: list[str] = []
    with Reporting(("mlflow",), run, said.append) as found:
        ledger = Ledger(run)
        found.listen(ledger)
        for number in range(6):  # 0.9 s, longer than the patience
            ledger.append(trial(f"mexico-{number:04d}", [3, 4], 30.0))
    assert (len(trackers["mlflow"].trials), said) == (6, [])


def test_a_resumed_run_sends_only_what_is_missing_or_new(
    run: Path, trial: Callable[..., TrialRecord], trackers: dict[str, FakeTracker]
) -> None:
    fake = trackers["mlflow"]
    found = Reporting(("mlflow",), run, print)
    ledger = Ledger(run)
    found.listen(ledger)
    ledger.append(trial("mexico-0000", [3, 4], 30.0))
    ledger.append(trial("mexico-0001", [], 0.0, state="failed"))
    found.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)  # Ctrl-C within the block
    assert end_of(fake) == (["mexico-0000", "mexico-0001"], [False])
    ledger = Ledger(run)
    ledger.append(trial("mexico-0002", [3, 3], 20.0))  # that no tracker heard of
    with Reporting(("mlflow",), run, print) as found:
        found.listen(ledger)
        ledger.append(trial("mexico-0001", [4, 4], 25.0))  # tried again
    assert end_of(fake) == (
        ["mexico-0000", "mexico-0001", "mexico-0002", "mexico-0001"],
        [False, True],
    )
    assert {sweep.run for sweep in fake.sweeps} == {ledger.run}
    assert send_run(["mlflow"], run, ledger.read()) == {"mlflow": 0}


def test_a_torn_line_of_the_memory_costs_one_training_sent_twice(
    run: Path, trial: Callable[..., TrialRecord], trackers: dict[str, FakeTracker]
) -> None:
    ledger = Ledger(run)
    for number in range(3):
        ledger.append(trial(f"mexico-{number:04d}", [3, 4], 30.0))
    assert send_run(["mlflow"], run, ledger.read()) == {"mlflow": 3}
    file = run / "tracking" / "mlflow.jsonl"
    file.write_bytes(file.read_bytes()[:-10])
    assert send_run(["mlflow"], run, ledger.read()) == {"mlflow": 1}
    assert send_run(["mlflow"], run, ledger.read()) == {"mlflow": 0}
    assert trackers["mlflow"].names[-1] == "mexico-0002"


def test_two_do_not_send_a_run_to_one_tracker(
    run: Path, trial: Callable[..., TrialRecord], trackers: dict[str, FakeTracker]
) -> None:
    ledger = Ledger(run)
    with Reporting(("mlflow",), run, print) as found:
        found.listen(ledger)
        with pytest.raises(ValueError, match=r"What mlflow has of .* is being written by process"):
            send_run(["mlflow"], run, [])
        assert send_run(["wandb"], run, []) == {"wandb": 0}
    assert not lock_of(run, "mlflow").exists()


def test_one_that_fails_is_named_and_the_other_is_sent_to(
    run: Path, trial: Callable[..., TrialRecord], trackers: dict[str, FakeTracker]
) -> None:
    def fail(sent: SentTrial) -> None:
        raise ConnectionError("no route to\nhost; token=abcdefghijkl")

    trackers["mlflow"].on_trial = fail
    ledger = Ledger(run)
    ledger.append(trial("mexico-0000", [3, 4], 30.0))
    said: list[str] = []
    expected = r"^mlflow: ConnectionError: no route to host; token=\*\*\*\. What arrived is"
    with pytest.raises(RuntimeError, match=expected):
        send_run(["mlflow", "wandb"], run, ledger.read(), said.append)
    assert end_of(trackers["wandb"]) == (["mexico-0000"], [False])  # no page yet
    assert said == [
        "mlflow: sending 1 of 1 training, all it lacks.",
        "wandb: sending 1 of 1 training, all it lacks.",
        "wandb: sent.",
    ]
    trackers["mlflow"].on_trial = lambda sent: None
    assert send_run(["mlflow"], run, ledger.read()) == {"mlflow": 1}


def test_an_ablation_is_sent_with_its_table_which_ends_it(
    run: Path, trial: Callable[..., TrialRecord], trackers: dict[str, FakeTracker]
) -> None:
    folder = run / "ablation"
    folder.mkdir()
    (run / "config.yaml").rename(folder / "config.yaml")
    ledger = Ledger(folder)
    ledger.append(trial("mexico-ablate-0", [3, 4], 30.0))
    send_run(["mlflow"], folder, ledger.read())
    (run / "ablation.csv").write_text("country,arm\n")
    (run / "mine.csv").write_text("user,text\n")
    send_run(["mlflow"], folder, ledger.read())
    assert end_of(trackers["mlflow"]) == (["mexico-ablate-0"], [False, True])
    assert trackers["mlflow"].texts == {"ablation.csv": "country,arm\n"}


def test_a_package_that_is_missing_is_refused_with_the_command(
    monkeypatch: pytest.MonkeyPatch, run: Path
) -> None:
    monkeypatch.setattr(delivery, "_TRACKERS", {"mlflow": ("no_such_package", FakeTracker)})
    said = "report_to mlflow needs the package no_such_package.*pip install no_such_package"
    with pytest.raises(RuntimeError, match=said):
        Reporting(("mlflow",), run, print)
    with pytest.raises(RuntimeError, match=said):
        check_installed(["mlflow"])


def test_the_run_is_named_by_its_ledger(tmp_path: Path, trial: Callable[..., TrialRecord]) -> None:
    ledger = Ledger(tmp_path)
    ledger.append(trial("mexico-0000", [3, 4], 30.0))
    assert run_id(tmp_path) == ledger.run
    ledger.path.write_text(trial("mexico-0000", [3, 4], 30.0).model_dump_json() + "\n")
    assert len(run_id(tmp_path)) == 8  # of a version without ids
    assert run_id(tmp_path) == run_id(tmp_path) != ledger.run


def test_runs_of_others_below_the_sweeps_are_passed_over_in_mlflow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found(run_id: str, **tags: str) -> SimpleNamespace:
        return SimpleNamespace(
            info=SimpleNamespace(run_id=run_id), data=SimpleNamespace(tags=tags)
        )

    tags = {"mlflow.parentRunId": "p", "scpo.trial": "chile-0000"}
    runs = {"scpo.run": [found("p")], "mlflow.parentRunId": [found("x"), found("c", **tags)]}
    client = SimpleNamespace(
        get_experiment_by_name=lambda name: SimpleNamespace(experiment_id="1"),
        update_run=lambda run_id, status: None,
    )
    package = SimpleNamespace(MlflowClient=lambda: client)
    monkeypatch.setitem(sys.modules, "mlflow", package)  # type: ignore[arg-type]
    monkeypatch.setattr(MlflowTracker, "_runs_with", lambda self, tag, value: runs[tag])
    monkeypatch.delenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", raising=False)
    tracker = MlflowTracker()
    assert os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] == "true"  # --json writes there
    tracker.open(SentSweep("0a", "demo", Path(), {}))
    assert (tracker.parent, tracker.children) == ("p", {"chile-0000": "c"})
