import pytest

from sweeps.ledger.records import UserCounts
from sweeps.ledger.user_counts import align_by_user, evaluation_of


def with_counts(record, **counts):
    by_user = record.evaluation.by_user.model_copy(update=counts)
    evaluation = record.evaluation.model_copy(update={"by_user": by_user})
    return record.model_copy(update={"trial_id": "odd", "evaluation": evaluation})


def test_users_are_lined_up_by_name(records):
    first = records[0]
    counts = first.evaluation.by_user
    reversed_lists = {name: getattr(counts, name)[::-1] for name in ("users", "pairs", "correct")}
    matrix = align_by_user([first, with_counts(first, **reversed_lists)], "validation")
    assert matrix.users == tuple(counts.users)
    assert matrix.correct.tolist() == [counts.correct, counts.correct]
    assert matrix.pairs.tolist() == counts.pairs


def test_other_users_are_refused_by_trial_and_user(records):
    users = ["stranger", *records[0].evaluation.by_user.users[1:]]
    with pytest.raises(ValueError, match=r"trial odd differs from .*chi-v0, stranger"):
        align_by_user([records[0], with_counts(records[0], users=users)], "validation")


def test_other_pairs_of_a_user_are_refused(records):
    counts = records[0].evaluation.by_user
    pairs = [counts.pairs[0] + 1, *counts.pairs[1:]]
    with pytest.raises(ValueError, match="same pairs of the same users, but trial odd differs"):
        align_by_user([records[0], with_counts(records[0], pairs=pairs)], "validation")


def test_the_global_model_must_have_the_same_users(records):
    lonely = UserCounts(users=["x"], pairs=[1], correct=[1])
    evaluation = records[0].evaluation.model_copy(update={"global_by_user": lonely})
    record = records[0].model_copy(update={"evaluation": evaluation})
    with pytest.raises(ValueError, match="differs from its own by_user"):
        align_by_user([record], "validation")


def test_lists_of_unequal_length_are_refused(records):
    with pytest.raises(ValueError, match=r"of trial odd must be equally long"):
        align_by_user([with_counts(records[0], pairs=[1])], "validation")


def test_more_right_than_pairs_is_refused(records):
    correct = [99] * len(records[0].evaluation.by_user.users)
    with pytest.raises(ValueError, match=r"`0 <= correct <= pairs`.*correct=99"):
        align_by_user([with_counts(records[0], correct=correct)], "validation")


def test_missing_evaluation_and_wrong_part_are_refused(records):
    with pytest.raises(ValueError, match="is complete but has no evaluation"):
        evaluation_of(records[0].model_copy(update={"evaluation": None}), "validation")
    with pytest.raises(ValueError, match="must be evaluated on test users, but trial search-"):
        evaluation_of(records[0], "test")
