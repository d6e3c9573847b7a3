"""k folds of a small country: a setting is trained once a fold and judged on all its users.

Users of training and validation are dealt into k folds; each fold judges the model that trained
on the others, so every user is judged by the one model that never saw it. The k records become
one: counts by user are joined, accuracies taken over all pairs, intervals over all users.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from scpo.arrays import FloatArray
from scpo.countries.country_data import CountryData
from scpo.statistics.bootstrap import Interval, interval
from scpo.statistics.user_folds import deal_users
from sweeps.ledger.consensus_drop import CONSENSUS_DROP, shown_excess
from sweeps.ledger.records import AccuracyRecord, EvaluationRecord, TrialRecord, UserCounts
from sweeps.ledger.user_counts import align_by_user, evaluation_of

_ENOUGH_USERS = 30  # validation users of a country; with fewer all users judge settings
_NUM_FOLDS = 3
_SEARCHED = ("train", "validation")


def choose_folds(countries: Iterable[CountryData]) -> int:
    """Return how many folds a search takes: 1 where every country has 30 validation users, else 3.

    A country of fewer than 3 users of training and validation lowers that to its users.
    """
    fewest, searched = _ENOUGH_USERS, _NUM_FOLDS
    for data in countries:
        users = [len(np.unique(data.user[data.pairs_in(part)])) for part in _SEARCHED]
        fewest, searched = min(fewest, users[1]), min(searched, sum(users))
    return 1 if fewest >= _ENOUGH_USERS else max(1, searched)


def describe_folds(folds: int) -> str:
    """Return how a search judges its settings, where the data have chosen the folds."""
    if folds == 1:
        return f"search.folds: 1, for every country has {_ENOUGH_USERS} validation users or more"
    return (
        f"search.folds: {folds}, for a country has fewer than {_ENOUGH_USERS} validation users: "
        "each setting is trained so often and judged on all users of training and validation"
    )


def folds_of(data: CountryData, num_folds: int, *, seed: int = 0) -> list[CountryData]:
    """Return a country once a fold, with other users as its validation; itself for one fold.

    Test users stay what they are; `seed` is of the order in which the others are dealt. Users who
    are not vetted are in no fold: they train every model.

    Raises:
        ValueError: `1 <= num_folds <= vetted users of training and validation` does not hold.
    """
    if num_folds == 1:
        return [data]
    searched = data.part != "test"
    dealt = searched if data.vetted is None else searched & data.vetted
    num_users = len(np.unique(data.user[dealt]))
    if not 1 <= num_folds <= num_users:
        vetted = "" if np.array_equal(dealt, searched) else "vetted "
        raise ValueError(
            f"{data.country}: `1 <= folds <= {num_users}`, its {vetted}users of training and "
            f"validation, must hold, but got {num_folds}."
        )
    fold = np.full(len(data.part), -1)
    fold[dealt] = deal_users(data.user[dealt], num_folds, seed=seed)
    return [
        replace(data, part=np.select([fold == number, searched], ["validation", "train"], "test"))
        for number in range(num_folds)
    ]


def pool_folds(records: Sequence[TrialRecord], *, max_consensus_drop: float = 1.0) -> TrialRecord:
    """Return the complete records of one setting's folds as one, with the first's name.

    Records are in the order of folds; a lone one is returned as it is. The constraint, given what
    consensus accuracy may lose, is of all users.

    Raises:
        ValueError: An evaluation is missing or of another part, or its counts contradict each
            other.
    """
    if len(records) == 1:
        return records[0]
    first, part = records[0], "validation"
    evaluation = _join_evaluations(records, part)
    trained = mean_if_known([record.objectives.get("pairs_trained") for record in records])
    accuracy = evaluation.overall.accuracy
    objectives = {}
    if trained is not None and accuracy is not None:
        objectives = {"validation_accuracy": accuracy, "pairs_trained": trained}
    constraints = {CONSENSUS_DROP: shown_excess(evaluation, max_consensus_drop)}
    counts = {
        key: float(np.mean([record.counts[key] for record in records]))
        for key in first.counts
        if all(key in record.counts for record in records)
    }
    return first.model_copy(
        update={
            "objectives": objectives,
            "constraints": constraints,
            "evaluation": evaluation,
            "setting": {
                key: mean_if_known([record.setting.get(key) for record in records])
                for key in first.setting
            },
            "counts": counts,
            "times": _sum_times(records),
            "model_path": None,
        }
    )


def mean_if_known(values: Sequence[float | None]) -> float | None:
    """Return the mean; None where a value is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _join_evaluations(records: Sequence[TrialRecord], part: str) -> EvaluationRecord:
    """Return the evaluations of disjoint users as one."""
    parts = [evaluation_of(record, part) for record in records]
    matrices = [align_by_user([record], part) for record in records]
    pairs = np.concatenate([matrix.pairs for matrix in matrices])
    users = [user for matrix in matrices for user in matrix.users]
    right = np.concatenate([matrix.correct[0] for matrix in matrices])
    globally_right = np.concatenate([matrix.global_correct for matrix in matrices])
    overall = _join_layer([e.overall for e in parts])
    global_overall = _join_layer([e.global_overall for e in parts])
    return EvaluationRecord(
        part=parts[0].part,
        overall=_with_interval(overall, interval(right, pairs)),
        distinctive=_join_layer([e.distinctive for e in parts]),
        consensus=_join_layer([e.consensus for e in parts]),
        global_overall=_with_interval(global_overall, interval(globally_right, pairs)),
        length=_join_layer([e.length for e in parts]),
        by_user=_counts(users, pairs, right),
        global_by_user=_counts(users, pairs, globally_right),
        distinctive_by_user=_join_counts([e.distinctive_by_user for e in parts]),
    )


def _join_counts(counts: Sequence[UserCounts | None]) -> UserCounts | None:
    """Return the counts of disjoint users side by side; None where a record has none."""
    known = [each for each in counts if each is not None]
    if len(known) < len(counts):
        return None
    return UserCounts(
        users=[user for each in known for user in each.users],
        pairs=[pairs for each in known for pairs in each.pairs],
        correct=[correct for each in known for correct in each.correct],
    )


def _join_layer(layers: list[AccuracyRecord]) -> AccuracyRecord:
    """Return accuracies of disjoint users over all their pairs, without an interval."""
    pairs = sum(layer.pairs for layer in layers)
    right = sum((layer.accuracy or 0.0) * layer.pairs for layer in layers)
    return AccuracyRecord(
        accuracy=right / pairs if pairs else None,
        low=None,
        high=None,
        pairs=pairs,
        users=sum(layer.users for layer in layers),
        ties=sum(layer.ties for layer in layers),
    )


def _with_interval(layer: AccuracyRecord, figure: Interval) -> AccuracyRecord:
    """Return an accuracy with its mean and ends set."""
    return layer.model_copy(update=figure.columns("accuracy"))


def _counts(users: list[str], pairs: FloatArray, correct: FloatArray) -> UserCounts:
    """Return counts by user as a record holds them."""
    whole = [[round(value) for value in column.tolist()] for column in (pairs, correct)]
    return UserCounts(users=users, pairs=whole[0], correct=whole[1])


def _sum_times(records: Sequence[TrialRecord]) -> dict[str, float | str]:
    """Return the seconds of all folds, and the earliest of what is no number."""
    times: dict[str, float | str] = {}
    for key in records[0].times:
        values = [record.times[key] for record in records if key in record.times]
        numbers = [value for value in values if not isinstance(value, str)]
        times[key] = sum(numbers) if numbers else min(str(value) for value in values)
    return times
