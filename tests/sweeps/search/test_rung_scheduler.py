"""Which trials go on from a rung, and what a rung leaves behind."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from sweeps.ledger.records import TrialRecord
from sweeps.search.rung_scheduler import RungScheduler, is_among_best, rungs_of


def result_at(rung: int, accuracy: float) -> dict[str, Any]:
    return {"pruned": True, "rung": rung, "validation_accuracy": accuracy}


def trial_of(country: str, name: str = "a-1", *, exempt: bool = False) -> Any:
    return SimpleNamespace(config={"country": country, "trial_id": name, "exempt": exempt})


def test_rungs_are_those_below_all_pairs() -> None:
    assert rungs_of((64, 128, 256), 200) == [64, 128]
    assert rungs_of((64,), 64) == []
    assert rungs_of((), 64) == []


@pytest.mark.parametrize(
    ("value", "seen", "expected"),
    [
        (0.5, [0.5], True),  # nothing to compare with
        (0.5, [0.5, 0.6], False),  # one in three of two, rounded up, is one
        (0.6, [0.5, 0.6], True),
        (0.6, [0.5, 0.6, 0.7], False),
        (0.6, [0.5, 0.6, 0.7, 0.4], True),  # the second of four: two may go on
        (0.6, [0.6, 0.6, 0.6], True),  # equal results are not better
    ],
)
def test_one_in_three_goes_on(value: float, seen: list[float], expected: bool) -> None:
    assert is_among_best(value, seen, 3) is expected


def test_countries_and_rungs_are_compared_apart() -> None:
    scheduler = RungScheduler(2)
    decide = scheduler.on_trial_result
    assert decide(None, trial_of("A"), result_at(64, 0.9)) == TrialScheduler.CONTINUE
    assert decide(None, trial_of("B"), result_at(64, 0.5)) == TrialScheduler.CONTINUE
    assert decide(None, trial_of("A"), result_at(128, 0.4)) == TrialScheduler.CONTINUE
    assert decide(None, trial_of("A", "a-2"), result_at(64, 0.5)) == TrialScheduler.STOP


def test_first_trials_and_whole_ones_always_go_on() -> None:
    scheduler = RungScheduler(2)
    scheduler.on_trial_result(None, trial_of("A"), result_at(64, 0.9))
    low = result_at(64, 0.1)
    exempt = trial_of("A", "a-2", exempt=True)
    assert scheduler.on_trial_result(None, exempt, low) == TrialScheduler.CONTINUE
    whole = {"pruned": False, "rung": None, "validation_accuracy": 0.1}
    assert scheduler.on_trial_result(None, trial_of("A"), whole) == TrialScheduler.CONTINUE


def rung_record(name: str, accuracy: float) -> TrialRecord:
    return TrialRecord.model_validate(
        {
            "trial_id": f"{name}@64",
            "purpose": "rung",
            "country": "A",
            "arm": "scpo_tuned",
            "state": "complete",
            "config": {},
            "config_hash": "0",
            "seed": 0,
            "rung": 64,
            "objectives": {"validation_accuracy": accuracy},
        }
    )


def test_rungs_of_an_earlier_session_count() -> None:
    scheduler = RungScheduler(2, [rung_record("a-0", 0.8)])
    assert scheduler.on_trial_result(None, trial_of("A"), result_at(64, 0.7)) == (
        TrialScheduler.STOP
    )


def test_a_rung_that_is_done_again_counts_once() -> None:
    """Of a trial that an interrupt has ended between its rungs, which starts anew."""
    known = [rung_record("a-0", 0.8), rung_record("a-1", 0.7)]
    scheduler = RungScheduler(2, known)
    assert scheduler.on_trial_result(None, trial_of("A"), result_at(64, 0.7)) == (
        TrialScheduler.STOP  # the second of two; of three, two would go on
    )
