"""What the driver writes while Tune runs trials."""

import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.error import TuneError

from sweeps.config import LanesConfig
from sweeps.jobs.job import Job
from sweeps.lanes import tune_runner
from sweeps.lanes.tune_runner import LedgerCallback, own_errors, run_jobs
from sweeps.ledger.records import Ledger, TrialRecord
from sweeps.run.workspace import Workspace
from sweeps.search.job_source import MAX_LOSSES, JobList


def test_a_rung_in_the_ledger_is_left_out_by_the_lane_that_takes_over(
    tmp_path: Path, trial: Callable[..., TrialRecord]
) -> None:
    callback = LedgerCallback(Ledger(tmp_path), lambda record: None, JobList([]))
    running = SimpleNamespace(config={"rungs": (8, 16, 32), "seed": 0})
    record = trial("a@16", [1], 16.0).model_dump_json()
    callback.on_trial_result(0, [], running, {"pruned": True, "rung": 16, "record": record})
    assert running.config == {"rungs": (32,), "seed": 0}
    callback.on_trial_result(0, [], running, {"pruned": False, "rung": None, "record": record})
    assert running.config["rungs"] == (32,)
    assert [each.trial_id for each in Ledger(tmp_path).read()] == ["a@16"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Traceback\n  frame\nMemoryError: no room\n", "MemoryError: no room"),
        (None, "the lane died without an error message"),
    ],
)
def test_a_trial_whose_lane_died_has_failed_with_its_last_line(
    tmp_path: Path, text: str | None, error: str
) -> None:
    file = tmp_path / "error.txt"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    config = vars(Job("a", "search", "Mexico", "full", 1e-5, 1.0, seed=0))
    trial: Any = SimpleNamespace(config=config, error_file=str(file))
    seen: list[TrialRecord] = []
    LedgerCallback(Ledger(tmp_path), seen.append, JobList([])).on_trial_error(0, [], trial)
    assert [(record.trial_id, record.state, record.error) for record in seen] == [
        ("a", "failed", error)
    ]
    assert Ledger(tmp_path).read() == seen


def test_a_job_that_lost_its_lane_is_given_again_without_its_done_rungs() -> None:
    job = Job("a", "search", "Mexico", "full", 1e-5, 1.0, seed=0, rungs=(8, 16))
    source = JobList([job])
    assert source.suggest("t1")["rungs"] == (8, 16)
    assert source.suggest("t2") is None  # the first may still be lost
    source.on_trial_result("t1", {"pruned": True, "rung": 8})
    source.on_trial_complete("t1", error=True)
    assert source.is_given_again("a")
    assert source.suggest("t2") == {**vars(job), "rungs": (16,)}
    for losses in range(2, MAX_LOSSES + 1):
        source.on_trial_complete("t2", error=True)
        assert source.is_given_again("a")
        assert source.suggest("t2")["rungs"] == (16,), losses
    source.on_trial_complete("t2", error=True)
    assert not source.is_given_again("a")
    assert source.suggest("t3") == source.FINISHED


def test_a_lane_that_never_started_ends_the_experiment(tmp_path: Path) -> None:
    file = tmp_path / "error.txt"
    file.write_text("Traceback\nsweeps.lanes.lane.LaneNotStarted: 3 workers need 3 x (1 CPU).\n")
    job = Job("a", "search", "Mexico", "full", 1e-5, 1.0, seed=0)
    trial: Any = SimpleNamespace(config=vars(job), error_file=str(file))
    callback = LedgerCallback(Ledger(tmp_path), lambda record: None, JobList([job]))
    with pytest.raises(RuntimeError, match=r"^3 workers need 3 x"):
        callback.on_trial_error(0, [], trial)
    callback.has_result = True  # of another lane, which can go on
    callback.on_trial_error(0, [], trial)
    assert [record.state for record in Ledger(tmp_path).read()] == ["failed"]


def test_lanes_that_cannot_be_imported_end_the_experiment(tmp_path: Path) -> None:
    file = tmp_path / "error.txt"
    file.write_text(
        "The actor with name ResourceTrainable failed to import on the worker.\n  Traceback\n"
        "ModuleNotFoundError: No module named 'sweeps'\n"
    )
    job = Job("a", "search", "Mexico", "full", 1e-5, 1.0, seed=0)
    trial: Any = SimpleNamespace(config=vars(job), error_file=str(file))
    callback = LedgerCallback(Ledger(tmp_path), lambda record: None, JobList([job]))
    with pytest.raises(RuntimeError, match=r"No module named 'sweeps'\)\. Install scpo, of this"):
        callback.on_trial_error(0, [], trial)


def test_a_search_of_which_every_lane_dies_ends_after_two_trainings(tmp_path: Path) -> None:
    jobs = [Job(name, "search", "Mexico", "full", 1e-5, 1.0, seed=0) for name in "abc"]
    failing, passing = (
        LedgerCallback(Ledger(tmp_path / name), lambda record: None, JobList([]))
        for name in ("failing", "passing")
    )
    passing.has_result = True  # of a lane before
    trials: list[Any] = [SimpleNamespace(config=vars(job), error_file=None) for job in jobs]
    failing.on_trial_error(0, [], trials[0])
    with pytest.raises(
        RuntimeError, match=r"2 trainings lost 5 lanes each.*without an error mess"
    ):
        failing.on_trial_error(0, [], trials[1])
    for trial in trials:
        passing.on_trial_error(0, [], trial)
    for callback, num in ((failing, 2), (passing, 3)):
        assert [record.lane_lost for record in callback.ledger.read()] == [True] * num


def test_a_lane_that_died_is_told_where_its_job_is_trained_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "error.txt"
    file.write_text("Traceback\nthe actor's node was terminated unexpectedly\n")
    job = Job("a", "search", "Mexico", "full", 1e-5, 1.0, seed=0)
    source = JobList([job])
    source.suggest("t1")
    source.on_trial_complete("t1", error=True)
    trial: Any = SimpleNamespace(config=vars(job), error_file=str(file))
    LedgerCallback(Ledger(tmp_path), print, source).on_trial_error(0, [], trial)
    assert capsys.readouterr() == (
        "",
        "scpo: a: its lane died (the actor's node was terminated unexpectedly), so it is trained "
        "again.\n",
    )
    assert Ledger(tmp_path).read() == []


def test_what_trains_nothing_is_recorded_and_the_rest_goes_to_its_lanes(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = LanesConfig(workers=2)
    config = SimpleNamespace(lanes_of=lambda purpose, _: wide if purpose == "final" else None)
    jobs = [
        Job(f"{purpose}-{arm}", purpose, "Arvandia", arm, 1e-5, 1.0, seed=0)
        for purpose in ("final", "curve")
        for arm in ("global", "full")
    ]
    started: list[tuple[Any, list[str]]] = []

    def run_trials(source: JobList, _: Workspace, lanes: Any, *rest: Any) -> None:
        started.append((lanes, [job.trial_id for job in source.jobs]))

    monkeypatch.setattr(tune_runner, "run_trials", run_trials)
    told: list[TrialRecord] = []
    run_jobs(jobs, workspace, config, Ledger(tmp_path), tmp_path, told.append)
    assert started == [(wide, ["final-full"]), (None, ["curve-full"])]
    assert [record.trial_id for record in told] == ["final-global", "curve-global"]
    assert {(record.state, record.engine) for record in told} == {("complete", "none")}
    assert Ledger(tmp_path).read() == told


def _fail_as_tune_does() -> None:
    try:
        raise RuntimeError("the folder was moved")
    except RuntimeError:
        raise TuneError(traceback.format_exc())  # noqa: B904  # as Tune does


def test_what_a_callback_raised_is_told_not_the_error_that_tune_makes_of_it() -> None:
    with pytest.raises(RuntimeError, match=r"^the folder was moved$"), own_errors():
        _fail_as_tune_does()
    with pytest.raises(TuneError, match=r"^of Tune itself$"), own_errors():
        raise TuneError("of Tune itself")
