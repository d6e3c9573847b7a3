import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from sweeps.jobs.folds import choose_folds, describe_folds, folds_of, pool_folds
from sweeps.ledger.records import UserCounts


def fold(trial, name, number, users, correct, pairs=None, **changes):
    """One fold's record of one setting; the global model is right on 5 pairs of every user."""
    record = trial(f"{name}-f{number}", list(correct), 40 + 10 * number)
    pairs = list(pairs or [10] * len(users))
    total = sum(pairs)
    layer = record.evaluation.overall.model_copy(
        update={"accuracy": sum(correct) / total, "pairs": total, "users": len(users)}
    )
    evaluation = record.evaluation.model_copy(
        update={
            "overall": layer,
            "by_user": UserCounts(users=list(users), pairs=pairs, correct=list(correct)),
            "global_by_user": UserCounts(users=list(users), pairs=pairs, correct=[5] * len(users)),
        }
    )
    return record.model_copy(update={"config_hash": name, "evaluation": evaluation, **changes})


def test_counts_are_joined_and_accuracies_taken_over_all_pairs(trial):
    folds = [
        fold(trial, "x", 0, "ab", [8, 6]),
        fold(trial, "x", 1, "c", [15], pairs=[20]),
    ]
    pooled = pool_folds(folds)
    assert pooled.trial_id == "x-f0"
    counts = pooled.evaluation.by_user
    assert (counts.users, counts.pairs, counts.correct) == (
        ["a", "b", "c"],
        [10, 10, 20],
        [8, 6, 15],
    )
    overall = pooled.evaluation.overall
    assert (overall.accuracy, overall.pairs, overall.users) == (29 / 40, 40, 3)
    assert overall.low < 29 / 40 < overall.high
    assert pooled.evaluation.global_overall.accuracy == 15 / 40
    assert pooled.objectives == {"validation_accuracy": 29 / 40, "pairs_trained": 45.0}


def test_layers_are_weighted_by_their_pairs(trial):
    folds = [fold(trial, "x", 0, "a", [8]), fold(trial, "x", 1, "b", [15], pairs=[20])]
    parts = []
    for record, accuracy, pairs in zip(folds, (0.5, 1.0), (2, 6), strict=True):
        layer = record.evaluation.consensus.model_copy(
            update={"accuracy": accuracy, "pairs": pairs}
        )
        evaluation = record.evaluation.model_copy(update={"consensus": layer})
        parts.append(record.model_copy(update={"evaluation": evaluation}))
    pooled = pool_folds(parts)
    assert pooled.evaluation.consensus.accuracy == (0.5 * 2 + 1.0 * 6) / 8
    assert pooled.evaluation.consensus.pairs == 8
    assert pooled.evaluation.consensus.low is None


def test_the_constraint_is_of_the_users_of_all_folds(trial):
    # 10 pairs each, 2 distinctive and all wrong: consensus drops of 4, 6 and 5 of 8 pairs. Their
    # mean is 5 / 8, its error 1 / 8 / sqrt(3), Student's quantile with 2 degrees of freedom 4.303
    folds = []
    for number, (user, right) in enumerate(zip("abc", (4, 2, 3), strict=True)):
        record = fold(trial, "x", number, user, [right])
        wrong = UserCounts(users=[user], pairs=[2], correct=[0])
        evaluation = record.evaluation.model_copy(update={"distinctive_by_user": wrong})
        folds.append(record.model_copy(update={"evaluation": evaluation}))
    constraint = pool_folds(folds, max_consensus_drop=0.2).constraints["consensus_drop"]
    assert constraint == pytest.approx(5 / 8 - 4.3027 / 8 / math.sqrt(3) - 0.2, abs=1e-4)


def test_a_layer_without_pairs_stays_unknown(trial):
    folds = []
    for number, user in enumerate("ab"):
        record = fold(trial, "x", number, user, [8])
        layer = record.evaluation.consensus.model_copy(update={"accuracy": None, "pairs": 0})
        evaluation = record.evaluation.model_copy(update={"consensus": layer})
        folds.append(record.model_copy(update={"evaluation": evaluation}))
    pooled = pool_folds(folds)
    assert pooled.evaluation.consensus.accuracy is None
    assert pooled.constraints["consensus_drop"] == -1.0  # nothing is shown


def test_settings_counts_and_times_of_the_folds(trial):
    first = fold(
        trial,
        "x",
        0,
        "a",
        [8],
        setting={"tau": 0.6, "beta": None},
        counts={"pairs_available": 100.0, "steps": 9.0},
        times={"started": "2026-05-04T09:31", "train_s": 2.0},
    )
    second = fold(
        trial,
        "x",
        1,
        "b",
        [8],
        setting={"tau": 0.7, "beta": None},
        counts={"pairs_available": 110.0},
        times={"started": "2026-05-04T09:30", "train_s": 3.0},
    )
    pooled = pool_folds([first, second])
    assert pooled.setting == {"tau": pytest.approx(0.65), "beta": None}
    assert pooled.counts == {"pairs_available": 105.0}
    assert pooled.times == {"started": "2026-05-04T09:30", "train_s": 5.0}


def test_one_record_comes_out_as_it_is(trial):
    record = fold(trial, "x", 0, "a", [8])
    assert pool_folds([record]) is record


def test_every_searched_user_judges_once_and_test_users_never(workspace):
    country_data = workspace.countries["Arvandia"]
    folds = folds_of(country_data, 3, seed=1)
    judges = [set(data.user[data.part == "validation"]) for data in folds]
    searched = set(country_data.user[country_data.part != "test"])
    assert set.union(*judges) == searched
    assert sum(map(len, judges)) == len(searched)
    for data, judging in zip(folds, judges, strict=True):
        assert set(data.user[data.part == "train"]) == searched - judging
        assert np.array_equal(data.part == "test", country_data.part == "test")


def country_of(num_train, num_validation):
    """A country of so many users with two pairs each."""
    part = np.repeat(["train", "validation"], [2 * num_train, 2 * num_validation])
    return SimpleNamespace(
        user=np.repeat(np.arange(num_train + num_validation), 2),
        pairs_in=lambda name: np.flatnonzero(part == name),
    )


def test_few_validation_users_of_one_country_ask_for_folds():
    assert choose_folds([country_of(90, 30), country_of(200, 44)]) == 1
    assert choose_folds([country_of(90, 30), country_of(80, 29)]) == 3
    assert choose_folds([country_of(1, 1), country_of(90, 30)]) == 2
    assert "every country has 30 validation users" in describe_folds(1)
    assert "fewer than 30 validation users" in describe_folds(3)


def test_one_fold_is_the_split(workspace):
    country_data = workspace.countries["Arvandia"]
    assert folds_of(country_data, 1)[0] is country_data


def test_more_folds_than_users_are_refused(workspace):
    with pytest.raises(ValueError, match="its users of training and validation, must hold"):
        folds_of(workspace.countries["Arvandia"], 10_000)


def test_layers_are_counted_by_user_where_every_fold_does(records):
    folds = [r for r in records if r.purpose == "search" and r.arm == "scpo_tuned"]
    one, other = (next(r for r in folds if r.country == c) for c in ("Chile", "Mexico"))
    counts = [r.evaluation.distinctive_by_user for r in (one, other)]
    joined = pool_folds([one, other]).evaluation.distinctive_by_user
    assert joined.users == counts[0].users + counts[1].users
    assert (joined.pairs, joined.correct) == (
        counts[0].pairs + counts[1].pairs,
        counts[0].correct + counts[1].correct,
    )
    older = other.evaluation.model_copy(update={"distinctive_by_user": None})
    mixed = [one, other.model_copy(update={"evaluation": older})]
    assert pool_folds(mixed).evaluation.distinctive_by_user is None


def test_users_who_are_not_vetted_train_every_fold(workspace):
    data = workspace.countries["Arvandia"]
    searched = sorted(set(data.user[data.part != "test"].tolist()))
    able = set(searched[::2])
    marked = replace(data, vetted=np.isin(data.user, sorted(able)))
    folds = folds_of(marked, 2)
    judges = [set(fold.user[fold.part == "validation"].tolist()) for fold in folds]
    assert set.union(*judges) == able
    assert not set.intersection(*judges)
    for fold, judging in zip(folds, judges, strict=True):
        assert set(fold.user[fold.part == "train"].tolist()) == set(searched) - judging
        assert np.array_equal(fold.part == "test", data.part == "test")
    with pytest.raises(ValueError, match="its vetted users of training and validation"):
        folds_of(marked, len(able) + 1)
