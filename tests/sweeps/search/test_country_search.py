"""Studies of countries: objectives, constraints, failures, and what resume tells them."""

import math
from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from ray.tune.search import Searcher

from sweeps.config import SearchConfig
from sweeps.jobs.job import Job
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import slug
from sweeps.search.country_search import CountrySearch, trials_left
from sweeps.search.country_study import CountryStudy
from sweeps.search.job_source import MAX_LOSSES
from sweeps.search.space import clip_to_space, point_of, search_space, space_hash

CONFIG = SearchConfig(num_trials=6, learning_rate=(1e-5, 1e-4), epochs=(0.5, 2.0))
FULL = {"retention": 1.0, "strength": 0.0, "learning_rate": 2e-5, "epochs": 1.0}


def make_study(
    first: tuple[dict[str, float], ...] = (FULL,), known: Sequence[TrialRecord] = ()
) -> CountryStudy:
    return CountryStudy("South Africa", CONFIG, InMemoryStorage(), first, allow, known)


def allow(point: dict[str, float]) -> str | None:
    return None


def trials_of(study: CountryStudy) -> list[optuna.trial.FrozenTrial]:
    return study.study.get_trials(deepcopy=False)


def make_record(point: dict[str, Any], **changes: Any) -> TrialRecord:
    fields: dict[str, Any] = {
        "trial_id": "south-africa-0000",
        "purpose": "search",
        "country": "South Africa",
        "arm": "scpo_tuned",
        "state": "complete",
        "config": point,
        "config_hash": "0",
        "seed": 0,
        "objectives": {"validation_accuracy": 0.6, "pairs_trained": 50.0},
        "constraints": {"consensus_drop": 0.05},
    }
    return TrialRecord.model_validate({**fields, **changes})


def finish(study: CountryStudy, trial: optuna.Trial, **objectives: float) -> None:
    record = make_record(point_of(make_record(FULL), CONFIG))
    study.tell(trial, {**objectives, "record": record.model_dump_json(), "done": True})


def test_a_country_that_reached_the_target_gets_no_more_trials_after_a_resume() -> None:
    limits = CONFIG.model_copy(update={"target_accuracy": 0.6})
    keeps = {"consensus_drop": -0.1}
    reached, failed = make_record(FULL, constraints=keeps), make_record(FULL, state="failed")
    assert trials_left([failed, reached], limits) == 0
    assert trials_left([failed, make_record(FULL)], limits) == 4  # it breaks the constraint
    assert trials_left([reached] * 3, CONFIG) == 3
    assert trials_left([reached] * 9, CONFIG) == 0


def test_space_contains_plain_fine_tuning() -> None:
    space = search_space(CONFIG)
    assert all(space[name]._contains(value) for name, value in FULL.items())


def test_points_are_moved_into_the_space() -> None:
    outside = {"retention": 0.01, "strength": 9.0, "learning_rate": 1.0, "epochs": 1.0}
    assert clip_to_space(outside, CONFIG) == {
        "retention": 0.2,
        "strength": 3.0,
        "learning_rate": 1e-4,
        "epochs": 1.0,
    }


def test_first_trial_is_the_enqueued_one() -> None:
    number, trial = make_study().ask()
    assert (number, trial.params) == (0, FULL)


def test_complete_trial_carries_values_and_constraint() -> None:
    study = make_study()
    _, asked = study.ask()
    finish(study, asked, validation_accuracy=0.7, pairs_trained=40.0)
    (trial,) = trials_of(study)
    assert trial.state == TrialState.COMPLETE
    assert trial.values == [0.7, 40.0]
    assert list(trial.constraints.values()) == [0.05]
    assert trial.user_attrs["trial_id"] == "south-africa-0000"


@pytest.mark.parametrize(
    "objectives",
    [
        {"validation_accuracy": math.nan, "pairs_trained": 40.0},
        {"validation_accuracy": 0.7, "pairs_trained": math.inf},
        {"validation_accuracy": 0.7},
        {},
    ],
)
def test_values_that_are_not_numbers_fail_the_trial(objectives: dict[str, float]) -> None:
    study = make_study()
    _, asked = study.ask()
    finish(study, asked, **objectives)
    assert [trial.state for trial in trials_of(study)] == [TrialState.FAIL]


def test_trial_that_raised_is_failed_and_none_is_left_running() -> None:
    study = make_study()
    _, lost = study.ask()
    _, asked = study.ask()
    study.tell(lost, None)
    finish(study, asked, validation_accuracy=0.7, pairs_trained=40.0)
    states = [trial.state for trial in trials_of(study)]
    assert states == [TrialState.FAIL, TrialState.COMPLETE]


def test_known_records_are_told_without_ghosts() -> None:
    failed = make_record(FULL, state="failed", objectives={}, constraints={}, error="x")
    study = make_study((), [make_record(FULL), failed])
    first, second = trials_of(study)
    assert (first.state, first.values) == (TrialState.COMPLETE, [0.6, 50.0])
    assert first.params == FULL
    assert list(first.constraints.values()) == [0.05]
    assert second.state == TrialState.FAIL


def test_countries_take_turns_and_end() -> None:
    asked: list[str] = []

    def make_job(country: str, number: int, point: dict[str, float]) -> Job:
        asked.append(country)
        return Job(f"{country}-{number}", "search", country, "scpo_tuned", 1e-5, 1.0, seed=0)

    storage = InMemoryStorage()
    studies = {
        name: CountryStudy(name, CONFIG, storage, (), allow) for name in ("Mexico", "Israel")
    }
    search = CountrySearch(studies, {"Mexico": 2, "Israel": 1}, make_job, CONFIG)
    given = [search.suggest(str(number)) for number in range(4)]
    assert asked == ["Mexico", "Mexico", "Israel"]
    assert given[0]["country"] == "Mexico"
    assert given[3] is None  # those given may lose their lanes
    assert search.is_interrupted  # if Tune ended here
    for number in ("0", "1"):
        search.job_done(search.given.pop(number), None)
    for again in range(2, 3 + MAX_LOSSES):
        search.on_trial_complete(str(again), None, error=True)
        given.append(search.suggest(str(again + 1)))
    assert [job["country"] for job in given[4:-1]] == ["Israel"] * MAX_LOSSES
    assert given[-1] == Searcher.FINISHED
    assert not search.is_interrupted
    assert asked == ["Mexico", "Mexico", "Israel"]
    assert [trial.state for trial in trials_of(studies["Israel"])] == [TrialState.FAIL]


def test_a_trial_stopped_at_a_rung_is_pruned_without_values() -> None:
    study = make_study()
    _, asked = study.ask()
    study.tell(
        asked, {"validation_accuracy": 0.9, "pairs_trained": 8.0, "pruned": True, "rung": 64}
    )
    (trial,) = trials_of(study)
    assert trial.state == TrialState.PRUNED
    assert trial.values is None
    assert trial.user_attrs["rung"] == 64
    known = make_record(FULL, state="pruned", objectives={}, constraints={}, rung=64)
    again = make_study((), [known])
    assert [t.state for t in trials_of(again)] == [TrialState.PRUNED]


def test_degenerate_points_are_failed_and_never_given() -> None:
    asked: list[dict[str, float]] = []

    def refuse_two(point: dict[str, float]) -> str | None:
        asked.append(point)
        return "it keeps 3 pairs" if len(asked) <= 2 else None

    study = CountryStudy("Mexico", CONFIG, InMemoryStorage(), (FULL,), refuse_two)
    _, given = study.ask()
    assert asked[0] == FULL
    assert given.params == asked[2]
    assert study.num_refused == 2
    states = [trial.state for trial in trials_of(study)]
    assert states == [TrialState.FAIL, TrialState.FAIL, TrialState.RUNNING]
    assert trials_of(study)[0].user_attrs["refused"] == "it keeps 3 pairs"


def test_a_space_without_a_point_that_may_start_is_refused() -> None:
    study = CountryStudy("Mexico", CONFIG, InMemoryStorage(), (), lambda point: "it keeps 3 pairs")
    with pytest.raises(RuntimeError, match=r"Mexico: none of 200 .* \(it keeps 3 pairs\)"):
        study.ask()
    assert {trial.state for trial in trials_of(study)} == {TrialState.FAIL}


OBJECTIVE_VALUES = {"validation_accuracy": 0.6, "pairs_trained": 40.0}


def make_search(limits: SearchConfig, spent_s: float = 0.0) -> CountrySearch:
    def make_job(country: str, number: int, point: dict[str, float]) -> Job:
        return Job("x", "search", country, "scpo_tuned", 1e-5, 1.0, seed=0)

    study = CountryStudy("Mexico", CONFIG, InMemoryStorage(), (), allow)
    return CountrySearch({"Mexico": study}, {"Mexico": 5}, make_job, limits, spent_s)


def test_what_follows_a_country_begins_when_its_search_is_over_and_teaches_nothing() -> None:
    def make_job(country: str, number: int, point: dict[str, float]) -> Job:
        return final_of(country, f"{country}-{number}")

    def final_of(country: str, name: str) -> Job:
        return Job(name, "search", country, "scpo_tuned", 1e-5, 1.0, seed=0)

    studies = {
        name: CountryStudy(name, CONFIG, InMemoryStorage(), (FULL,), allow)
        for name in ("Mexico", "Israel", "Chile")
    }
    search = CountrySearch(studies, {"Mexico": 1, "Israel": 1, "Chile": 0}, make_job, CONFIG)
    made: list[str] = []

    def follow(country: str) -> list[Job]:
        made.append(country)
        return [] if country == "Chile" else [final_of(country, f"{country}-final")]

    search.follow_with(follow, at_most=5)
    assert search.num_jobs == 7
    record = make_record(FULL).model_dump_json()
    done = {**OBJECTIVE_VALUES, "record": record}
    assert search.suggest("a")["trial_id"] == "Mexico-0"
    assert search.suggest("b")["trial_id"] == "Israel-0"
    assert search.suggest("c") is None
    assert made == ["Chile"]  # nothing to search, and nothing to train
    search.on_trial_complete("b", done)
    assert search.suggest("c")["trial_id"] == "Israel-final"
    search.on_trial_complete("c", error=True)
    assert search.suggest("d")["trial_id"] == "Israel-final"
    search.on_trial_complete("d", done)
    assert search.suggest("e") is None
    search.on_trial_complete("a", error=True)
    assert search.suggest("f")["trial_id"] == "Mexico-0"  # in another lane
    search.on_trial_complete("f", done)
    assert search.is_interrupted  # what follows was not made
    assert search.suggest("g")["trial_id"] == "Mexico-final"
    search.on_trial_complete("g", done)
    assert search.suggest("h") == Searcher.FINISHED
    assert (made, search.is_interrupted) == (["Chile", "Israel", "Mexico"], False)
    states = [[trial.state.name for trial in trials_of(study)] for study in studies.values()]
    assert states == [["COMPLETE"], ["COMPLETE"], ["WAITING"]]


def test_device_hours_end_the_search() -> None:
    search = make_search(CONFIG.model_copy(update={"max_device_hours": 1.0}), spent_s=1800.0)
    assert isinstance(search.suggest("a"), dict)
    record = make_record(FULL, devices=2).model_dump_json()
    search.on_trial_complete("a", {**OBJECTIVE_VALUES, "time_total_s": 900.5, "record": record})
    assert search.suggest("b") == Searcher.FINISHED
    assert search.ended == {"": "search.max_device_hours of 1 are spent"}


def test_wall_time_ends_the_search() -> None:
    search = make_search(CONFIG.model_copy(update={"max_wall_s": 10.0}))
    assert isinstance(search.suggest("a"), dict)
    search.started -= 11.0
    assert search.suggest("b") is None  # the first still runs
    assert search.ended == {"": "search.max_wall_s of 10 s is over"}


@pytest.mark.parametrize(
    ("accuracy", "drop", "ends"), [(0.7, -0.1, True), (0.7, 0.1, False), (0.69, -0.1, False)]
)
def test_a_feasible_trial_at_the_target_ends_its_country(
    accuracy: float, drop: float, ends: bool
) -> None:
    search = make_search(CONFIG.model_copy(update={"target_accuracy": 0.7}))
    search.suggest("a")
    objectives = {"validation_accuracy": accuracy, "pairs_trained": 40.0}
    record = make_record(FULL, objectives=objectives, constraints={"consensus_drop": drop})
    search.on_trial_complete("a", {**objectives, "record": record.model_dump_json()})
    assert (search.suggest("b") == Searcher.FINISHED) is ends
    assert ("Mexico" in search.ended) is ends


def test_names_tell_country_and_space() -> None:
    assert slug("South Africa") == "south-africa"
    narrower = CONFIG.model_copy(update={"strength": (0.0, 1.0)})
    assert space_hash(CONFIG) != space_hash(narrower)
