"""Planned trainings: which final models and curve points a configuration asks for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scpo.config import LoraConfig, parse_config
from sweeps.config import LanesConfig, SweepConfig
from sweeps.jobs.job import Job
from sweeps.jobs.job_inputs import job_training
from sweeps.jobs.job_records import failed_record
from sweeps.jobs.planned_jobs import curve_jobs
from sweeps.ledger.records import Ledger, TrialRecord
from sweeps.ledger.words import KEPT_GLOBAL
from sweeps.ranking.ranking import rank_records
from sweeps.ranking.recommendation import rule_of
from sweeps.ranking.tested import is_stale
from sweeps.stages.final_and_curves import (
    FinalTrainings,
    final_jobs,
    missing_jobs,
    set_aside_models,
)

CONFIG = parse_config(
    SweepConfig,
    {
        "name": "x",
        "countries": ["South Africa", "Mexico"],
        "global_model": {"name": "m"},
        "final": {"arms": ["full", "scpo"], "seeds": [5]},
        "curves": {"arms": ["full", "random_k"], "budgets": [0.5, 1.0], "seeds": [0, 1]},
        "tau": 0.6,
        "beta": 2.0,
    },
    "test",
)


def search_record(
    country: str, accuracy: float, pairs: float, state: str, glob: list[int] | None = None
) -> TrialRecord:
    right = round(20 * accuracy)
    block = {"accuracy": accuracy, "low": 0.1, "high": 0.9, "pairs": 20, "users": 2, "ties": 0}
    counts = {"users": ["a", "b"], "pairs": [10, 10], "correct": [right // 2, right - right // 2]}
    of_global = {**counts, "correct": [1, 2] if glob is None else glob}
    evaluation = {
        "part": "validation",
        **dict.fromkeys(("overall", "distinctive", "consensus"), block),
        **dict.fromkeys(("global_overall", "length"), block),
        "by_user": counts,
        "global_by_user": of_global,
    }
    complete = state == "complete"
    return TrialRecord.model_validate(
        {
            "trial_id": f"{country}-{pairs:.0f}",
            "purpose": "search",
            "country": country,
            "arm": "scpo_tuned",
            "state": state,
            "config": {"retention": 0.4, "strength": 1.2, "learning_rate": 3e-5, "epochs": 0.5},
            "config_hash": "0",
            "seed": 0,
            "objectives": {"validation_accuracy": accuracy, "pairs_trained": pairs}
            if complete
            else {},
            "constraints": {"consensus_drop": -0.1} if complete else {},
            "evaluation": evaluation if complete else None,
            "error": None if complete else "ValueError: too few",
        }
    )


def test_finals_are_the_arms_and_the_recommended_setting(tmp_path: Path) -> None:
    said: list[str] = []
    records = [
        search_record("South Africa", 0.7, 40, "complete"),
        search_record("Mexico", 0.5, 30, "failed"),
    ]
    jobs = final_jobs(CONFIG, records, tmp_path, said.append)
    names = [job.trial_id for job in jobs]
    assert names == [
        "south-africa-final-global",
        "south-africa-final-full",
        "south-africa-final-scpo",
        "south-africa-final-scpo_tuned",
        "mexico-final-global",
        "mexico-final-full",
        "mexico-final-scpo",
    ]
    tuned = jobs[3]
    assert (tuned.retention, tuned.strength, tuned.learning_rate) == (0.4, 1.2, 3e-5)
    assert tuned.save_to == str(tmp_path / "models" / "south-africa")
    assert {job.part for job in jobs} == {"test"}
    assert {job.seed for job in jobs} == {5}
    assert (jobs[2].tau, jobs[2].beta) == (0.6, 2.0)
    assert said == ["Mexico: no trial succeeded, so there is no setting to retrain"]


def test_where_the_global_model_is_kept_nothing_is_trained(tmp_path: Path) -> None:
    said: list[str] = []
    final = CONFIG.final.model_copy(update={"seeds": (5, 6), "arms": ()})
    config = CONFIG.model_copy(update={"final": final, "countries": ("Mexico",)})
    records = [search_record("Mexico", 0.5, 40, "complete", glob=[9, 8])]
    _, *kept = final_jobs(config, records, tmp_path, said.append)
    assert [(job.trial_id, job.retention, job.save_to) for job in kept] == [
        ("mexico-final-scpo_tuned", KEPT_GLOBAL, None),
        ("mexico-final-scpo_tuned-6", KEPT_GLOBAL, None),
    ]
    assert all(job.is_untrained and job.part == "test" for job in kept)
    assert said == ["Mexico: the global model is kept, so no model of its own is trained"]


@pytest.mark.parametrize(("which", "pairs"), [("accuracy", 40), ("thrift", 10)])
def test_the_answer_asked_for_is_trained(tmp_path: Path, which: str, pairs: int) -> None:
    final = CONFIG.final.model_copy(update={"which": which})
    search = CONFIG.search.model_copy(update={"non_inferiority": 0.3})
    config = CONFIG.model_copy(update={"final": final, "search": search})
    records = [
        search_record("Mexico", 0.8, 40, "complete"),
        search_record("Mexico", 0.75, 10, "complete"),
    ]
    first, second = (
        record.model_copy(update={"config": {**record.config, "retention": retention}})
        for record, retention in zip(records, (1.0, 0.1), strict=True)
    )
    first = first.model_copy(update={"config": {**first.config, "strength": 0.0}})
    jobs = final_jobs(config, [first, second], tmp_path, print)
    (tuned,) = (job for job in jobs if job.arm == "scpo_tuned")
    assert tuned.retention == {40: 1.0, 10: 0.1}[pairs]


def test_curve_points_share_seeds_over_arms_and_spare_the_test_users() -> None:
    jobs = curve_jobs(CONFIG)
    assert len(jobs) == len({job.trial_id for job in jobs}) == 2 * 2 * 2 * 2
    assert {job.part for job in jobs} == {"validation"}
    assert {(job.arm, job.budget, job.seed) for job in jobs if job.country == "Mexico"} == {
        (arm, budget, seed)
        for arm in ("full", "random_k")
        for budget in (0.5, 1.0)
        for seed in (0, 1)
    }
    assert all(job.save_to is None for job in jobs)


def test_no_countries_no_finals() -> None:
    with pytest.raises(ValueError, match="countries"):
        parse_config(SweepConfig, {"name": "x", "countries": []}, "test")


def test_finals_of_several_seeds_save_the_first_model(tmp_path: Path) -> None:
    final = CONFIG.final.model_copy(update={"seeds": (5, 6)})
    config = CONFIG.model_copy(update={"final": final, "countries": ("Mexico",)})
    jobs = final_jobs(config, [search_record("Mexico", 0.7, 40, "complete")], tmp_path, print)
    assert [(job.trial_id, job.seed, bool(job.save_to)) for job in jobs] == [
        ("mexico-final-global", 5, False),
        ("mexico-final-full", 5, False),
        ("mexico-final-full-6", 6, False),
        ("mexico-final-scpo", 5, False),
        ("mexico-final-scpo-6", 6, False),
        ("mexico-final-scpo_tuned", 5, True),
        ("mexico-final-scpo_tuned-6", 6, False),
    ]


@pytest.mark.parametrize("searched", [None, (2, 4)])
@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2)])
def test_whole_finals_train_no_adapters(
    tmp_path: Path, searched: tuple[int, int] | None, lora: LoraConfig | None
) -> None:
    config = CONFIG.model_copy(
        update={
            "final": CONFIG.final.model_copy(update={"whole": True}),
            "search": CONFIG.search.model_copy(update={"lora_rank": searched}),
            "training": CONFIG.training.model_copy(update={"lora": lora}),
        }
    )
    found = search_record("Mexico", 0.7, 40, "complete")
    if searched:
        found = found.model_copy(update={"config": {**found.config, "lora_rank": 4}})
    job = final_jobs(config, [found], tmp_path, print)[-1]
    assert job.arm == "scpo_tuned"
    assert job_training(job, config.training).lora is None
    final = found.model_copy(update={"purpose": "final", "config": job.config})
    (ranking,) = rank_records([found], rule=rule_of(config))
    assert not is_stale([found, final], ranking)


def test_what_the_search_trained_of_a_curve_is_not_repeated() -> None:
    jobs = curve_jobs(CONFIG)
    (job,) = (j for j in jobs if j.country == "Mexico" and j.trial_id.endswith("-full-1-0"))
    corner = {"retention": 1.0, "strength": 0.0}
    record = search_record("Mexico", 0.5, 30, "complete").model_copy(
        update={"config": {**job.config, **corner}, "seed": 0}
    )
    left = missing_jobs(jobs, [record])
    assert [other for other in jobs if other not in left] == [job]
    other = record.model_copy(update={"config": {**record.config, "epochs": 9.0}})
    done = record.model_copy(
        update={
            **{name: getattr(jobs[0], name) for name in ("trial_id", "purpose", "arm", "country")},
            **{"config": jobs[0].config, "seed": jobs[0].seed},
        }
    )
    assert missing_jobs(jobs, [other, done]) == jobs[1:]


def test_what_failed_is_left() -> None:
    jobs = curve_jobs(CONFIG)
    failed = failed_record(jobs[0], "OSError: [Errno 28] No space left on device")
    assert missing_jobs(jobs, [failed]) == jobs


def test_a_final_belongs_to_its_setting_and_not_to_its_name(tmp_path: Path) -> None:
    first = [search_record("Mexico", 0.7, 40, "complete")]
    config = CONFIG.model_copy(update={"countries": ("Mexico",)})
    job = final_jobs(config, first, tmp_path, print)[-1]
    done = first[0].model_copy(
        update={
            **{name: getattr(job, name) for name in ("purpose", "arm", "seed", "config")},
            "trial_id": "a name of an earlier version",
        }
    )
    assert job not in missing_jobs([job], [done])
    older = done.model_copy(update={"config": {**done.config, "strength": 0.1}})
    (again,) = missing_jobs([job], [older])
    assert (again.tested_before, again.config_hash) == (1, job.config_hash)
    looked = older.model_copy(update={"tested_before": 1})
    assert missing_jobs([job], [looked])[0].tested_before == 2
    assert missing_jobs([job], [older, done]) == []


def test_a_model_of_an_earlier_recommendation_is_set_aside(tmp_path: Path) -> None:
    said: list[str] = []
    config = CONFIG.model_copy(update={"countries": ("Mexico",)})
    records = [search_record("Mexico", 0.5, 40, "complete", glob=[9, 8])]
    jobs = final_jobs(config, records, tmp_path, print)
    set_aside_models(jobs, tmp_path, said.append)
    assert said == []
    for number in (1, 2):
        (tmp_path / "models" / "mexico").mkdir(parents=True)
        (tmp_path / "models" / "mexico" / "number").write_text(str(number))
        set_aside_models(jobs, tmp_path, said.append)
        assert [each.name for each in (tmp_path / "models").iterdir()] == ["mexico.earlier"]
        assert (tmp_path / "models" / "mexico.earlier" / "number").read_text() == str(number)
    assert "the model of an earlier recommendation is now" in said[1]


def test_finals_of_the_lanes_of_a_search_begin_there_and_are_tried_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = LanesConfig(workers=2)
    curves = CONFIG.curves.model_copy(update={"lanes": wide})
    config = CONFIG.model_copy(update={"curves": curves})
    ledger = Ledger(tmp_path)
    ledger.append(search_record("Mexico", 0.7, 40, "complete"))
    workspace: Any = SimpleNamespace(place=None, countries={})
    said: list[str] = []
    finals = FinalTrainings(config, workspace, ledger, tmp_path, said.append)
    to_do = {"South Africa": 3, "Mexico": 2}
    first = finals.begin_in(config.lanes, "Mexico", to_do=to_do)
    names = ["mexico-final-full", "mexico-final-scpo", "mexico-final-scpo_tuned"]
    assert [job.trial_id for job in first] == names
    assert (to_do, said) == (
        {"South Africa": 3, "Mexico": 5},
        ["final: 3 models of Mexico, tested once; curves: 0 trainings"],
    )
    assert len(finals.begin_in(wide, "Mexico", to_do=to_do)) == 8
    assert finals.most_of("Mexico") == 3 + 8

    rest: list[str] = []
    monkeypatch.setattr(
        "sweeps.stages.final_and_curves.run_jobs",
        lambda jobs, *_: rest.extend(job.trial_id for job in jobs),
    )
    finals.train_rest()
    assert rest[:2] == ["south-africa-final-global", "south-africa-final-full"]
    assert "mexico-final-global" in rest  # it trains nothing
    assert not {job.trial_id for job in first} & set(rest)


def test_where_plain_fine_tuning_is_recommended_it_is_trained_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = CONFIG.training.model_copy(update={"learning_rate": 3e-5, "epochs": 0.5})
    curves = CONFIG.curves.model_copy(update={"arms": ()})
    config = CONFIG.model_copy(
        update={"training": numbers, "curves": curves, "countries": ("Mexico",)}
    )
    ledger = Ledger(tmp_path)
    found = search_record("Mexico", 0.7, 40, "complete")
    plain = {**found.config, "retention": 1.0, "strength": 0.0, "budget": 1.0, "folds": 1}
    ledger.append(found.model_copy(update={"config": plain}))
    workspace: Any = SimpleNamespace(place=None, countries={})

    def run_jobs(jobs: list[Job], *_: object) -> None:
        trained.extend(job.trial_id for job in jobs)
        for job in jobs:
            record = failed_record(job, "no room") if fails else done(job)
            ledger.append(record)

    def done(job: Job) -> TrialRecord:
        return failed_record(job, "").model_copy(update={"state": "complete", "error": None})

    monkeypatch.setattr("sweeps.stages.final_and_curves.run_jobs", run_jobs)
    for fails in (True, False, False):
        trained: list[str] = []
        said: list[str] = []
        finals = FinalTrainings(config, workspace, ledger, tmp_path, said.append)
        finals.train_rest()
        states = {record.trial_id: record.state for record in ledger.read()}
        assert states["mexico-final-full"] == ("failed" if fails else "complete")
        line = "mexico-final-full: the same training as mexico-final-scpo_tuned"
        assert (line in said) == bool(trained)
        assert "mexico-final-full" not in trained
    assert trained == []
