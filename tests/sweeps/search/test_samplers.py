"""Samplers propose by seed, country and trial number, so a resumed search goes on as it would."""

import optuna
import pytest
from optuna.samplers import GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from sweeps.config import SearchConfig
from sweeps.ledger.records import TrialRecord
from sweeps.search.country_study import CountryStudy
from sweeps.search.samplers import make_sampler

CONFIG = SearchConfig(num_trials=8, sampler="random", learning_rate=(1e-5, 1e-4))
FULL = {"retention": 1.0, "strength": 0.0, "learning_rate": 2e-5, "epochs": 1.0}
PAPER = {"retention": 0.6, "strength": 1.0, "learning_rate": 2e-5, "epochs": 1.0}

Point = dict[str, float]


def refuse_some(point: Point) -> str | None:
    return "too few" if point["retention"] < 0.45 else None


def open_study(config: SearchConfig, records: list[TrialRecord]) -> CountryStudy:
    first = (FULL, PAPER)
    return CountryStudy("Mexico", config, InMemoryStorage(), first, refuse_some, records)


def run_trials(study: CountryStudy, count: int) -> list[TrialRecord]:
    """Suggest, judge by a formula, and tell, one after another."""
    records = []
    for _ in range(count):
        number, trial = study.ask()
        point = trial.params
        accuracy = 0.5 + point["retention"] / 4 - (point["strength"] - 1) ** 2 / 20
        objectives = {"validation_accuracy": accuracy, "pairs_trained": point["retention"] * 99}
        record = TrialRecord(
            trial_id=f"mexico-{number:04d}",
            purpose="search",
            country="Mexico",
            arm="scpo_tuned",
            state="complete",
            config=point,
            config_hash="0",
            seed=0,
            objectives=objectives,
            constraints={"consensus_drop": 0.6 - point["retention"]},
        )
        study.tell(trial, {**objectives, "record": record.model_dump_json()})
        records.append(record)
    return records


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.filterwarnings("ignore:.*is experimental")
def test_a_resumed_search_proposes_what_it_would_have_proposed(sampler: str) -> None:
    """Cut at every length in which first points, refused ones and drawn ones lie."""
    config = CONFIG.model_copy(update={"sampler": sampler, "num_trials": 14})
    study = open_study(config, [])
    whole = run_trials(study, 14)
    assert study.num_refused > 0
    assert len({tuple(record.config.values()) for record in whole}) == 14
    for cut in (0, 1, 2, 5, 12):
        resumed = open_study(config, whole[:cut])
        assert run_trials(resumed, 14 - cut) == whole[cut:]


def test_lost_numbers_are_given_first() -> None:
    """Trials that were in flight in other lanes at a kill have no record."""
    whole = run_trials(open_study(CONFIG, []), 8)
    kept = [whole[4], whole[0], whole[2]]
    again = run_trials(open_study(CONFIG, kept), 5)
    assert [record.trial_id for record in again] == [
        f"mexico-{number:04d}" for number in (1, 3, 5, 6, 7)
    ]
    assert again == [whole[number] for number in (1, 3, 5, 6, 7)]


def test_known_trials_are_told_in_the_order_of_proposing() -> None:
    whole = run_trials(open_study(CONFIG, []), 4)
    study = open_study(CONFIG, [whole[2], whole[0], whole[3], whole[1]]).study
    told = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert [trial.params for trial in told] == [record.config for record in whole]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("tpe", TPESampler), ("nsga2", NSGAIISampler), ("gp", GPSampler), ("random", RandomSampler)],
)
@pytest.mark.filterwarnings("ignore:.*is experimental")
def test_samplers_by_name(name: str, kind: type) -> None:
    config = CONFIG.model_copy(update={"sampler": name})
    assert isinstance(make_sampler(config, "Mexico"), kind)


def test_draws_differ_by_seed_country_number_and_attempt() -> None:
    def draw(config: SearchConfig = CONFIG, country: str = "Mexico", **which: int) -> float:
        study = optuna.create_study(sampler=make_sampler(config, country, **which))
        return study.ask().suggest_float("x", 0, 1)

    assert draw() == draw(number=0, attempt=0)
    other = CONFIG.model_copy(update={"seed": 1})
    draws = [draw(), draw(other), draw(country="Israel"), draw(number=1), draw(attempt=1)]
    assert len(set(draws)) == 5
