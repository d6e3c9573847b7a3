"""A run's folder as DataFrames, models and studies."""

import doctest

import optuna
import pandas as pd
import pytest

import scpo
import sweeps.api.run_results
from scpo.config import dump_config, parse_config
from scpo.models.reward_model import content_hash
from sweeps.api.run_results import Run
from sweeps.config import SweepConfig
from sweeps.ledger.records import read_records
from sweeps.ranking.ranking import rank_records
from sweeps.ranking.recommendation import rule_of
from sweeps.report.arms_table import arm_rows, write_arms
from sweeps.report.leaderboard import write_leaderboard
from sweeps.search.country_study import CountryStudy
from sweeps.search.journal import new_storage


@pytest.fixture
def run(run_folder, model_writer_of):
    config = {
        "name": "run",
        "countries": ["Chile", "Mexico", "South Africa"],
        "data": {"source": "synthetic"},
        "global_model": {"name": str(model_writer_of(run_folder / "global-model", 0))},
    }
    resolved = parse_config(SweepConfig, config, "test")
    (run_folder / "config.yaml").write_text(dump_config(resolved))
    return Run(run_folder)


@pytest.fixture
def model_writer_of(tiny_backbone):
    from scpo.models.loading import load_reward_model
    from tests.saved_model import save_reward_model

    def write(folder, seed):
        return save_reward_model(
            load_reward_model(str(tiny_backbone), new_head=True, head_seed=seed), folder
        )

    return write


def test_tables_are_those_of_the_files(run, tmp_path):
    records = read_records(run.folder)
    rankings = rank_records(records)
    write_leaderboard(rankings, tmp_path / "leaderboard.csv")
    write_arms(arm_rows(records), tmp_path / "arms.csv")
    for frame, file in ((run.leaderboard(), "leaderboard.csv"), (run.arms(), "arms.csv")):
        written = pd.read_csv(tmp_path / file)
        assert list(frame.columns) == list(written.columns)
        assert len(frame) == len(written) > 3
        assert frame["accuracy"].tolist() == pytest.approx(written["accuracy"].tolist(), abs=1e-6)
    curves = run.curves()
    assert set(curves["arm"]) == {"full", "scpo", "random_k"}
    assert {"mean", 0, 1} == set(curves["seed"])


def test_every_training_is_a_trial(run):
    trials = run.trials()
    records = {record.trial_id: record for record in run.records()}
    assert len(trials) == len(records)
    assert list(trials.columns[:3]) == ["trial_id", "purpose", "country"]
    for row in trials.to_dict("records"):
        record = records[row["trial_id"]]
        assert row["state"] == record.state
        if record.evaluation is not None:
            assert row["accuracy"] == record.evaluation.overall.accuracy
            assert row["part"] == record.evaluation.part
            assert row["retention"] == record.config["retention"]
            assert row["feasible"] == (record.constraints["consensus_drop"] <= 0)
    assert "consensus_drop" not in trials  # of the leaderboard: what is lost, not by how much more
    assert trials["error"].notna().sum() == 1


def test_the_recommended_setting_of_a_country(run):
    row = run.recommended("mx")
    rule = rule_of(run.config)
    (ranking,) = [r for r in rank_records(run.records(), rule=rule) if r.country == "Mexico"]
    assert ranking.recommended is None  # four users show no gain over the global model
    assert row["trial_id"] == "global"
    assert row["accuracy"] == ranking.settings[0].evaluation.global_overall.accuracy
    with pytest.raises(ValueError, match="No interactions of Peru; there are some of Chile"):
        run.recommended("Peru")


@pytest.fixture
def run_with_models(run, model_writer_of):
    lines = []
    for record in run.records():
        if record.purpose == "final" and record.arm == "scpo_tuned":
            folder = run.folder / "models" / record.country
            model_writer_of(folder, seed=len(record.country))
            told = {"model_path": str(folder), "model_hash": content_hash(str(folder))}
            record = record.model_copy(update=told)
        lines.append(record.model_dump_json() + "\n")
    (run.folder / "trials.jsonl").write_text("".join(lines))
    return run


@pytest.fixture
def studied_run(run):
    config = run.config.search
    searched = [r for r in run.records() if r.purpose == "search" and r.country == "Mexico"]
    CountryStudy("Mexico", config, new_storage(run.folder), [], lambda point: None, searched)
    return run


def test_final_models_load_with_their_evaluation_and_mix(run_with_models):
    run = run_with_models
    model = run.model("Mexico")
    (final,) = [
        r
        for r in run.records()
        if (r.purpose, r.country, r.arm) == ("final", "Mexico", "scpo_tuned")
    ]
    assert model.evaluation["overall"]["accuracy"] == final.evaluation.overall.accuracy
    assert model.evaluation["part"] == "test"
    mixed = run.mix({"Mexico": 0.5, "CL": 0.25})
    prompts, responses = ["a"], ["b"]
    shared = scpo.RewardModel.from_pretrained(run.config.global_model.name)
    parts = [each.score(prompts, responses)[0] for each in (shared, model, run.model("Chile"))]
    assert mixed.score(prompts, responses)[0] == pytest.approx(
        0.25 * parts[0] + 0.5 * parts[1] + 0.25 * parts[2], abs=1e-6
    )
    with pytest.raises(ValueError, match="There is no final model Mexico/full"):
        run.model("Mexico", "full")


def test_a_run_may_have_no_study(run):
    with pytest.raises(FileNotFoundError, match="No studies at"):
        run.study("Mexico")


def test_the_study_of_a_country(studied_run):
    run = studied_run
    searched = [r for r in run.records() if r.purpose == "search" and r.country == "Mexico"]
    study = run.study("Mexico")
    values = [
        trial.values[0] for trial in study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    ]
    assert sorted(values) == sorted(r.objectives["validation_accuracy"] for r in searched)
    with pytest.raises(FileNotFoundError, match="has no study of Chile"):
        run.study("Chile")


def test_the_report_is_written_where_it_is_missing(run):
    page = run.report
    assert page.read_text().startswith("<!")
    stamp = page.stat().st_mtime_ns
    assert run.report.stat().st_mtime_ns == stamp


def test_examples_run(run_with_models, studied_run):
    names = {"scpo": scpo, "folder": run_with_models.folder, "run": run_with_models}
    found = doctest.testmod(sweeps.api.run_results, extraglobs=names)
    assert (found.failed, found.attempted > 8) == (0, True)


def test_another_folder_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="a sweep's folder"):
        Run(tmp_path)


def test_a_run_whose_models_were_trusted_can_be_read(run):
    file = run.folder / "config.yaml"
    trusted = file.read_text().replace("trust_remote_code: false", "trust_remote_code: true")
    file.write_text(trusted)
    assert Run(run.folder).config.global_model.trust_remote_code
    assert Run(run.folder).countries == ["Chile", "Mexico", "South Africa"]
