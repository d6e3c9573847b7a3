"""A whole sweep through the real command line: finished, ranked, drawn, and resumed."""

import json
from collections import Counter
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from transformers import AutoModelForSequenceClassification

from scpo.config import parse_config
from sweeps.config import SweepConfig
from sweeps.curves.points import curve_points
from sweeps.ledger.records import TrialRecord, read_records
from sweeps.run.run_folder import open_run
from tests.forked import run_scpo

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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lanes", "engine"),
    [
        ({}, "torch"),
        pytest.param(
            {"workers": 2, "zero_stage": 2}, "deepspeed-zero2-x2", marks=pytest.mark.exhaustive
        ),
    ],
)
def test_sweep_from_configuration_to_page_and_resume(
    tmp_path: Path, tiny_backbone: Path, lanes: dict[str, int], engine: str
) -> None:
    search = {
        "num_trials": 5,
        "folds": 1,
        "learning_rate": [1e-4, 1e-2],
        "epochs": [0.5, 1.0],
        "rungs": [12, 24, 10_000],
        "reduction": 2,
    }
    config = write_config(
        tmp_path,
        tiny_backbone,
        search=search,
        final={"arms": ["full"]},
        country_lanes={"Arvandia": lanes} if lanes else {},
    )
    run = tmp_path / "run"
    done = run_scpo("sweep", config, "--out", run)
    assert done.returncode == 0, done.stderr
    records = read_records(run)
    search = by_purpose(records, "search")
    assert len(search) == 10
    assert {record.country for record in search} == set(COUNTRIES)
    check_rungs(records)
    assert search[0].config["retention"] == 1.0
    assert search[0].config["strength"] == 0.0
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
    assert "%" in done.stdout.split("Arvandia:")[-1]
    for country in ("arvandia", "belmora"):
        AutoModelForSequenceClassification.from_pretrained(run / "models" / country)
    states = [state for _, trials in studies(run) for state in trials]
    assert Counter(states) == Counter(record.state for record in search)

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
