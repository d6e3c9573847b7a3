import pytest

from sweeps.folds import pool_folds
from sweeps.records import UserCounts


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
    (pooled,), num_partial = pool_folds(folds, "validation")
    assert num_partial == 0
    assert pooled.trial_id == "x"
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


def test_layers_and_constraints_are_weighted_by_their_pairs(trial):
    folds = [fold(trial, "x", 0, "a", [8]), fold(trial, "x", 1, "b", [15], pairs=[20])]
    parts = []
    for record, accuracy, pairs, drop in zip(folds, (0.5, 1.0), (2, 6), (0.3, -0.1), strict=True):
        layer = record.evaluation.consensus.model_copy(
            update={"accuracy": accuracy, "pairs": pairs}
        )
        evaluation = record.evaluation.model_copy(update={"consensus": layer})
        parts.append(
            record.model_copy(
                update={"evaluation": evaluation, "constraints": {"consensus_drop": drop}}
            )
        )
    (pooled,), _ = pool_folds(parts, "validation")
    assert pooled.evaluation.consensus.accuracy == (0.5 * 2 + 1.0 * 6) / 8
    assert pooled.evaluation.consensus.pairs == 8
    assert pooled.evaluation.consensus.low is None
    assert pooled.constraints["consensus_drop"] == pytest.approx((0.3 * 2 - 0.1 * 6) / 8)


def test_a_layer_without_pairs_stays_unknown(trial):
    folds = []
    for number, user in enumerate("ab"):
        record = fold(trial, "x", number, user, [8], constraints={"consensus_drop": 0.1 * number})
        layer = record.evaluation.consensus.model_copy(update={"accuracy": None, "pairs": 0})
        evaluation = record.evaluation.model_copy(update={"consensus": layer})
        folds.append(record.model_copy(update={"evaluation": evaluation}))
    (pooled,), _ = pool_folds(folds, "validation")
    assert pooled.evaluation.consensus.accuracy is None
    assert pooled.constraints["consensus_drop"] == pytest.approx(0.05)


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
    (pooled,), _ = pool_folds([first, second], "validation")
    assert pooled.setting == {"tau": pytest.approx(0.65), "beta": None}
    assert pooled.counts == {"pairs_available": 105.0}
    assert pooled.times == {"started": "2026-05-04T09:30", "train_s": 5.0}


def test_settings_that_lack_a_fold_are_counted_and_left_out(trial):
    folds = [
        fold(trial, "x", 0, "a", [8]),
        fold(trial, "y", 0, "a", [9]),
        fold(trial, "x", 1, "b", [8]),
    ]
    pooled, num_partial = pool_folds(folds, "validation")
    assert [record.trial_id for record in pooled] == ["x"]
    assert num_partial == 1


def test_of_two_records_of_one_fold_the_last_counts(trial):
    folds = [
        fold(trial, "x", 0, "a", [1]),
        fold(trial, "x", 1, "b", [8]),
        fold(trial, "x", 0, "a", [9]),
    ]
    (pooled,), _ = pool_folds(folds, "validation")
    assert pooled.evaluation.by_user.correct == [9, 8]


def test_without_folds_records_come_out_as_they_are(trial):
    same_users = [fold(trial, "x", 0, "ab", [8, 8]), fold(trial, "x", 1, "ab", [7, 7])]
    assert pool_folds(same_users, "validation") == (same_users, 0)
    two_splits = [fold(trial, "x", 0, "ab", [8, 8]), fold(trial, "y", 0, "cd", [7, 7])]
    assert pool_folds(two_splits, "validation") == (two_splits, 0)
    overlapping = [fold(trial, "x", 0, "ab", [8, 8]), fold(trial, "x", 1, "bc", [7, 7])]
    assert pool_folds(overlapping, "validation") == (overlapping, 0)
    assert pool_folds([], "validation") == ([], 0)


def test_a_record_of_another_part_is_refused(trial):
    with pytest.raises(ValueError, match="must be evaluated on test users"):
        pool_folds([fold(trial, "x", 0, "a", [8])], "test")
