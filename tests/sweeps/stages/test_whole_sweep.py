"""A whole sweep through the real command line: finished, ranked, drawn, disturbed and resumed."""

import json
import os
import shutil
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
import ray
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from transformers import AutoModelForSequenceClassification

from scpo.config import load_config, parse_config
from scpo.files.buckets import RemoteFolder
from sweeps.config import SweepConfig
from sweeps.curves.points import curve_points
from sweeps.ledger.records import LEDGER_NAME, TrialRecord, read_records
from sweeps.ledger.same_setting import is_full
from sweeps.run.mirror import Mirror
from sweeps.run.run_folder import open_run
from sweeps.stages.whole_sweep import run_sweep
from tests.forked import Forked, run_scpo, start_scpo
from tests.sweeps.stages.test_killed_often import (
    check_equal,
    count_lines,
    search_of,
    study_states,
)

COUNTRIES = ["Arvandia", "Belmora"]


def write_config(folder: Path, backbone: Path, **changes: object) -> Path:
    config = {
        "name": "tiny",
        "countries": COUNTRIES,
        "data": {
            "source": "synthetic",
            "synthetic": {
                "num_countries": 3,
                "users_per_country": 12,
                "interactions_per_user": 2,
            },
        },
        "global_model": {"backbone": str(backbone), "learning_rate": 1e-3, "max_pairs": 200},
        "encoder": {"max_tokens": 96},
        "training": {"pairs_per_step": 16, "learning_rate": 1e-3},
        "search": {
            "num_trials": 4,
            "folds": 1,
            "learning_rate": [1e-4, 1e-2],
            "epochs": [0.5, 1.0],
        },
        "curves": {"arms": ["full", "scpo"], "budgets": [0.5, 1.0]},
        "final": {"arms": ["full"]},
        "lanes": {"num_lanes": 1},
        "cache": str(folder / "cache"),
        **changes,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def studies(run: Path) -> list[tuple[str, list[str]]]:
    """Name and states of the trials of each study in a run's journal, as records name them."""
    names = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    storage = JournalStorage(JournalFileBackend(str(run / "optuna.journal")))
    found = []
    for summary in optuna.get_all_study_summaries(storage):
        study = optuna.load_study(study_name=summary.study_name, storage=storage)
        states = [trial.state.name for trial in study.trials]
        found.append((study.study_name, [names.get(state, state) for state in states]))
    return found


def by_purpose(records: list[TrialRecord], purpose: str) -> list[TrialRecord]:
    return [record for record in records if record.purpose == purpose]


def check_rungs(records: list[TrialRecord]) -> None:
    """Some trials were stopped early, without objectives; every rung left its point."""
    trials = {record.trial_id: record for record in by_purpose(records, "search")}
    pruned = [record for record in trials.values() if record.state == "pruned"]
    assert pruned
    assert all(not r.objectives and r.evaluation is None and r.rung in (12, 24) for r in pruned)
    assert trials["arvandia-0000"].state == "complete"  # plain fine-tuning goes through all
    rungs = by_purpose(records, "rung")
    assert {record.trial_id for record in rungs} >= {"arvandia-0000@12", "belmora-0000@24"}
    for record in rungs:
        assert record.rung is not None
        assert record.rung <= record.counts["pairs_labelled"] < record.rung + 6
        assert record.evaluation is not None
        assert record.evaluation.part == "validation"


@dataclass(frozen=True)
class Swept:
    """A sweep that nobody disturbed: its configuration, its folder, and what it printed."""

    config: Path
    run: Path
    said: str


def sweep_whole(folder: Path, backbone: Path, country_lanes: dict[str, object]) -> Swept:
    search = {
        "num_trials": 5,
        "folds": 1,
        "sampler": "random",  # proposes the same again; `gp` only nearly
        "learning_rate": [1e-4, 1e36],  # beyond all bounds: such a trial fails
        "epochs": [0.5, 1.0],
        "rungs": [12, 24, 10_000],
        "reduction": 2,
    }
    config = write_config(folder, backbone, search=search, country_lanes=country_lanes)
    run = folder / "run"
    done = run_scpo("sweep", config, "--out", run)
    assert done.returncode == 0, done.stderr
    return Swept(config, run, done.stdout)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Swept:
    return sweep_whole(tmp_path_factory.mktemp("swept"), tiny_backbone, {})


def check_whole(swept: Swept, engine: str) -> None:
    """Every stage left its records and files."""
    run, records = swept.run, read_records(swept.run)
    search = by_purpose(records, "search")
    assert len(search) == 10
    assert {record.country for record in search} == set(COUNTRIES)
    check_rungs(records)
    assert (search[0].config["retention"], search[0].config["strength"]) == (1.0, 0.0)
    assert len(by_purpose(records, "curve")) == 6  # `full` on all pairs was a first trial
    assert {(p.country, p.arm, p.budget) for p in curve_points(records)} >= {
        (country, arm, budget)
        for country in COUNTRIES
        for arm in ("full", "scpo")
        for budget in (0.5, 1.0)
    }
    finals = {(record.country, record.arm): record for record in by_purpose(records, "final")}
    assert set(finals) == {(c, a) for c in COUNTRIES for a in ("global", "full", "scpo_tuned")}
    assert all(r.evaluation and r.evaluation.part == "test" for r in finals.values())
    assert finals["Arvandia", "scpo_tuned"].engine == engine
    for name in (
        "leaderboard.csv",
        "curves.csv",
        "curves.svg",
        "curves.png",
        "arms.csv",
        "report.html",
        "config.yaml",
        "split.json",
        "data/interactions.parquet",
    ):
        assert (run / name).stat().st_size > 0, name
    assert "%" in swept.said.split("Arvandia:")[-1]
    for country in ("arvandia", "belmora"):
        AutoModelForSequenceClassification.from_pretrained(run / "models" / country)
    states = [state for _, trials in studies(run) for state in trials]
    assert Counter(states) == Counter(record.state for record in search)
    failed = [record for record in search if record.state == "failed"]
    assert 0 < len(failed) < 7  # the first two of a country are of the configuration's own rate
    assert all("finite" in str(record.error) for record in failed)
    assert "failed" in (run / "report.html").read_text()


@pytest.mark.slow
def test_sweep_from_configuration_to_page_and_resume(swept: Swept) -> None:
    check_whole(swept, "torch")
    config, run, records = swept.config, swept.run, read_records(swept.run)
    again = run_scpo("sweep", config, "--out", run)
    assert again.returncode == 2
    assert "holds a run already. Resume it with --resume" in again.stderr
    resumed = run_scpo("sweep", config, "--out", run, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert read_records(run) == records

    made = {"rank": "leaderboard.csv", "curves": "curves.svg", "report": "report.html"}
    for command, name in made.items():  # from the ledger alone, to the same bytes
        before = (run / name).read_bytes()
        (run / name).unlink()
        redone = run_scpo(command, run)
        assert redone.returncode == 0, redone.stderr
        assert name in redone.stdout
        assert (run / name).read_bytes() == before


@pytest.mark.exhaustive
def test_sweep_with_a_country_in_a_sharded_lane(tmp_path: Path, tiny_backbone: Path) -> None:
    lanes = {"Arvandia": {"workers": 2, "zero_stage": 2}}
    check_whole(sweep_whole(tmp_path, tiny_backbone, lanes), "deepspeed-zero2-x2")


@pytest.mark.slow
def test_an_interrupt_a_kill_and_a_lost_node_lose_repeat_and_change_nothing(
    swept: Swept, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, err = f"{bucket}/runs/killed", tmp_path / "err"
    sweep = ("sweep", swept.config, "--out", uri, "--resume")
    ledger = Mirror(uri).folder / LEDGER_NAME

    def start_and_await(num_lines: int) -> Forked:
        driver = start_scpo(*sweep, err=err)
        deadline = time.monotonic() + 300
        while count_lines(ledger) < num_lines:
            assert not driver.ended(), "the sweep ended in advance: " + err.read_text()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return driver

    driver = start_and_await(2)
    assert driver.process.pid is not None
    second = run_scpo(*sweep)
    assert second.returncode == 2
    assert f"process {driver.process.pid} of" in second.stderr
    os.kill(driver.process.pid, signal.SIGINT)
    assert driver.wait(60) == 130, err.read_text()
    assert "with --resume to go on" in err.read_text()
    assert "Traceback" not in err.read_text()
    whole = ledger.read_bytes()
    assert {json.loads(line)["purpose"] for line in whole.splitlines()} <= {"search", "rung"}

    start_and_await(whole.count(b"\n") + 2).kill()
    written = ledger.read_bytes()
    assert written.startswith(whole)  # what was finished stays
    whole = written[: written.rfind(b"\n") + 1]
    with ledger.open("ab") as handle:
        handle.write(b'{"trial_id": "torn')
    shutil.rmtree(tmp_path / "home")  # the node is lost; another one goes on
    monkeypatch.setenv("SCPO_HOME", str(tmp_path / "elsewhere"))
    kept = (Mirror(uri).folder / LEDGER_NAME).read_bytes()
    assert whole.startswith(kept)
    assert kept.count(b"\n") >= 3  # the last one may not have got there

    ended = start_scpo(*sweep, err=err)
    assert ended.wait(timeout=900) == 0, err.read_text()[-3000:]
    run = Mirror(uri).folder
    assert RemoteFolder(uri).read(LEDGER_NAME) == (run / LEDGER_NAME).read_bytes()
    assert RemoteFolder(uri).read(LEDGER_NAME).startswith(kept)
    check_equal(search_of(run), search_of(swept.run))
    assert Counter(study_states(run)) == Counter(study_states(swept.run))
    finals = [
        {record.trial_id: record.objectives for record in by_purpose(read_records(one), "final")}
        for one in (run, swept.run)
    ]
    assert finals[0] == finals[1]
    for country in COUNTRIES:
        full = [r for r in search_of(run).values() if r.country == country and is_full(r)]
        assert len(full) == 1  # plain fine-tuning was tried once, though the driver died


def test_run_of_another_configuration_is_refused(tmp_path: Path) -> None:
    raw = {"name": "x", "countries": ["A"], "global_model": {"name": "m"}}
    first = parse_config(SweepConfig, raw, "test")
    open_run(first, tmp_path, resume=True)
    assert json.loads((tmp_path / "run.json").read_text())["name"] == "x"
    open_run(first, tmp_path, resume=True)
    with pytest.raises(ValueError, match=r"holds a run already. Resume it with --resume"):
        open_run(first, tmp_path, resume=False)
    other = first.model_copy(update={"tau": 0.6})
    with pytest.raises(ValueError, match="differs from the configuration given"):
        open_run(other, tmp_path, resume=True)


def test_a_cluster_that_is_not_there_is_named_before_anything_is_trained(
    tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # another test's cluster is here
    config = load_config(SweepConfig, write_config(tmp_path, tiny_backbone))
    with pytest.raises(RuntimeError, match=r"must answer at RAY_ADDRESS=127\.0\.0\.1:1, but got"):
        run_sweep(
            config,
            tmp_path / "run",
            resume=False,
            say=print,
            mirror=None,
            on_ledger=lambda ledger: None,
        )
    assert not (tmp_path / "run").exists()
