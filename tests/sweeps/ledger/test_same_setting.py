import math

import pytest

from sweeps.ledger.same_setting import (
    describe_identity,
    is_whole,
    seed_deviation,
    setting_identity,
)


def changed(record, **changes):
    return record.model_copy(update=changes)


def test_a_point_of_the_search_is_its_configuration(trial):
    assert setting_identity(trial("a", [8], 10)) == (
        ("retention", "0.41"),
        ("strength", "1.2"),
        ("epochs", "2"),
        ("learning_rate", "1e-05"),
    )


def test_full_and_the_corner_of_the_search_are_one_setting(trial):
    numbers = {"learning_rate": 1e-5, "epochs": 2.0}
    corner = {"retention": 1.0, "strength": 0.0, "budget": 1.0, "tau": None, **numbers}
    arm = {"retention": None, "strength": None, "tau": 0.7, "beta": 1.1, **numbers}
    searched = changed(trial("a", [8], 10), config=corner)
    named = changed(trial("b", [8], 10), arm="full", config=arm)
    assert setting_identity(searched) == setting_identity(named)
    assert describe_identity(setting_identity(named)) == (
        "full (all pairs, no weighting), epochs 2, learning rate 1e-05"
    )


def test_arms_are_told_by_what_they_use(trial):
    config = {"tau": 0.7, "beta": 1.1, "epochs": 2, "optimizer": "adamw"}
    record = changed(trial("a", [8], 10), config=config)
    named = {
        arm: describe_identity(setting_identity(changed(record, arm=arm)))
        for arm in ("scpo", "filter", "weight")
    }
    assert named == {
        "scpo": "arm scpo, tau 0.7, beta 1.1, epochs 2, optimizer adamw",
        "filter": "arm filter, tau 0.7, epochs 2, optimizer adamw",
        "weight": "arm weight, beta 1.1, epochs 2, optimizer adamw",
    }


def test_rungs_budgets_and_stopped_trials_are_not_whole(trial):
    record = trial("a", [8], 10)
    assert is_whole(record)
    assert is_whole(changed(record, config={"budget": 1.0}))
    assert not is_whole(changed(record, config={"budget": 0.5}))
    assert not is_whole(changed(record, purpose="rung", rung=64))
    assert not is_whole(changed(record, state="pruned"))


def test_noise_floor_by_hand(trial):
    records = [
        changed(trial("a", [8, 8], 10), seed=0),
        changed(trial("b", [8, 6], 10), seed=1),  # 0.8 and 0.7: squares 2 * 0.05 ** 2
        changed(trial("c", [5, 5], 10, country="Chile"), seed=0),
        changed(trial("d", [6, 6], 10, country="Chile"), seed=1),
        changed(trial("e", [7, 7], 10, country="Chile"), seed=2),  # squares 2 * 0.1 ** 2
        changed(trial("f", [1, 1], 10), config={"retention": 0.5}),  # alone
    ]
    deviation, repeats = seed_deviation(records)
    assert deviation == pytest.approx(math.sqrt((2 * 0.05**2 + 2 * 0.1**2) / 3))
    assert repeats == 3
    assert seed_deviation(records, "Mexico") == (pytest.approx(math.sqrt(2 * 0.05**2)), 1)
    assert seed_deviation(records, "Chile") == (pytest.approx(0.1), 2)


def test_without_repeats_there_is_no_noise_floor(trial):
    one = trial("a", [8, 8], 10)
    other_users = changed(trial("b", [6], 10), seed=1)
    no_repeats = [
        one,
        other_users,
        changed(trial("c", [6, 6], 10), seed=1, state="pruned"),
        changed(trial("d", [6, 6], 10), seed=1, purpose="rung", rung=64),
        changed(trial("e", [6, 6], 10), seed=0),  # the same seed: the last counts
    ]
    assert seed_deviation(no_repeats) == (None, 0)
    for arm in ("random_k", "global"):
        twice = [changed(trial(str(s), [8, s], 10), arm=arm, seed=s) for s in (0, 1)]
        assert seed_deviation(twice) == (None, 0)
    assert seed_deviation([trial("a", [], 10), trial("f", [8], 10, state="failed")]) == (None, 0)
