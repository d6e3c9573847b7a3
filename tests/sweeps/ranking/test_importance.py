import numpy as np
import pytest

from sweeps.ranking.importance import MIN_TRIALS, country_importance
from sweeps.ranking.ranking import rank_country


def search(trial, accuracies, **columns):
    """One trial per accuracy in percent, on 4 users of 100 pairs, with the given columns."""
    records = []
    for number, accuracy in enumerate(accuracies):
        record = trial(f"t{number}", [accuracy] * 4, 10 + number, num_pairs=100)
        config = {name: values[number] for name, values in columns.items()}
        records.append(record.model_copy(update={"config": config}))
    return rank_country(records, "Mexico")


def test_the_parameter_that_decides_is_found_with_its_direction(trial):
    rng = np.random.default_rng(0)
    retention = rng.permutation(np.linspace(0.2, 1.0, 24))
    strength = rng.uniform(0.0, 3.0, 24)
    rate = 10 ** rng.uniform(-6, -4, 24)
    found = country_importance(
        search(
            trial,
            [round(50 + 40 * (1 - value)) for value in retention],
            retention=retention.tolist(),
            strength=strength.tolist(),
            learning_rate=rate.tolist(),
        )
    )
    assert found.missing is None
    assert found.num_trials == 24
    assert found.parameters[0].name == "retention"
    assert sum(one.share for one in found.parameters) == pytest.approx(1.0)
    assert found.parameters[0].share > 0.6
    assert found.parameters[0].correlation == pytest.approx(-1.0, abs=0.01)


def test_rank_correlation_by_hand(trial):
    # ranks 1..8 against ranks with two neighbours swapped: 1 - 6 * 2 / (8 * 63)
    ranking = search(trial, [50, 51, 52, 53, 54, 55, 57, 56], strength=list(range(8)))
    (only,) = country_importance(ranking).parameters
    assert only.share == 1.0
    assert only.correlation == pytest.approx(1 - 12 / 504)


def test_few_trials_are_not_interpreted(trial):
    few = search(trial, range(50, 57), strength=list(range(7)))
    found = country_importance(few)
    assert found.parameters == ()
    assert found.missing == f"7 complete trials, but at least {MIN_TRIALS} are needed"
    one = country_importance(search(trial, [50], strength=[1]))
    assert one.missing == f"1 complete trial, but at least {MIN_TRIALS} are needed"
    assert one.country == "Mexico"
    failed = rank_country([trial("f", [1], 5, state="failed")], "Mexico")
    assert country_importance(failed).missing.startswith("0 complete trials")


def test_pruned_trials_do_not_count(trial):
    records = [
        trial(f"t{n}", [n, n], 10).model_copy(
            update={"config": {"strength": n}, "state": "pruned" if n > 6 else "complete"}
        )
        for n in range(10)
    ]
    assert country_importance(rank_country(records, "Mexico")).num_trials == 7


def test_what_never_varies_or_is_not_searched_has_no_importance(trial):
    ranking = search(
        trial,
        range(50, 58),
        strength=list(range(8)),
        epochs=[2] * 8,
        tau=[None] * 8,
        budget=list(range(8)),
        optimizer=["adamw"] * 8,
    )
    assert [one.name for one in country_importance(ranking).parameters] == ["strength"]
    fixed = search(trial, range(50, 58), epochs=[2] * 8)
    assert country_importance(fixed).missing == "no parameter varied"


def test_equal_accuracies_are_not_interpreted(trial):
    ranking = search(trial, [50] * 6 + [60, 61], strength=list(range(8)))
    assert country_importance(ranking).missing == "too many trials are equally accurate"
    two_values = search(trial, [50] * 4 + [60, 61, 62, 63], strength=[0.0, 1.0] * 4)
    assert country_importance(two_values).missing is None


def test_the_best_spread_as_all_do_is_said(trial, monkeypatch):
    monkeypatch.setattr(
        "sweeps.ranking.importance.PedAnovaImportanceEvaluator.evaluate",
        lambda *_, params: dict.fromkeys(params, 0.0),
    )
    ranking = search(trial, range(50, 58), strength=list(range(8)))
    assert country_importance(ranking).missing.startswith("the best trials spread over every")


def test_optuna_stays_as_quiet_as_it_was(trial, capsys):
    country_importance(search(trial, range(50, 58), strength=list(range(8))))
    assert "study" not in capsys.readouterr().err
