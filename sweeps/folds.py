"""k folds of a small country, pooled: one record per setting from one record per fold.

In come complete records of one country and purpose. Where one setting (one config hash) was
judged on several disjoint sets of validation users, its records are joined: counts by user side
by side, accuracies over all pairs, intervals over all users. Every user is judged by the one
model that never trained on it. Without folds the records come out as they are.
"""

import re
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from sweeps.intervals import FloatArray, align_by_user, evaluation_of, mean_interval
from sweeps.records import AccuracyRecord, EvaluationRecord, TrialRecord, UserCounts

Users = frozenset[str]


def pool_folds(records: Sequence[TrialRecord], part: str) -> tuple[list[TrialRecord], int]:
    """Return one record per setting that has every fold, and how many settings lack one.

    Folds are told by their users: the sets of users in the records must be disjoint, and one
    setting must have more than one of them. Otherwise there are no folds and nothing is joined.
    Of several records of one setting and fold the last counts.

    Args:
        records: Complete records of one country and purpose, with evaluations.
        part: "validation" or "test", where every evaluation must come from.

    Raises:
        ValueError: An evaluation is missing or of another part, or its counts contradict each
            other.
    """
    settings: dict[str, dict[Users, TrialRecord]] = {}
    for record in records:
        users = frozenset(evaluation_of(record, part).by_user.users)
        settings.setdefault(record.config_hash, {})[users] = record
    folds = list(dict.fromkeys(users for by_fold in settings.values() for users in by_fold))
    disjoint = not any(first & second for first, second in combinations(folds, 2))
    if not disjoint or max(map(len, settings.values()), default=0) < 2:
        return list(records), 0
    whole = [by_fold for by_fold in settings.values() if len(by_fold) == len(folds)]
    pooled = [_join([by_fold[users] for users in folds], part) for by_fold in whole]
    return pooled, len(settings) - len(whole)


def _join(records: list[TrialRecord], part: str) -> TrialRecord:
    """Return the records of one setting's folds as one."""
    weights = [evaluation_of(record, part).consensus.pairs for record in records]
    trained = [r.objectives["pairs_trained"] for r in records if "pairs_trained" in r.objectives]
    evaluation = _join_evaluations(records, part)
    objectives = {}
    if len(trained) == len(records) and evaluation.overall.accuracy is not None:
        objectives = {
            "validation_accuracy": evaluation.overall.accuracy,
            "pairs_trained": float(np.mean(trained)),
        }
    first = records[0]
    return first.model_copy(
        update={
            "trial_id": re.sub(r"-f\d+$", "", first.trial_id),
            "objectives": objectives,
            "constraints": {
                key: _mean([record.constraints[key] for record in records], weights)
                for key in first.constraints
            },
            "evaluation": evaluation,
            "setting": {
                key: _mean_or_none([record.setting.get(key) for record in records])
                for key in first.setting
            },
            "counts": {
                key: float(np.mean([record.counts[key] for record in records]))
                for key in first.counts
                if all(key in record.counts for record in records)
            },
            "times": _sum_times(records),
            "model_path": None,
        }
    )


def _join_evaluations(records: list[TrialRecord], part: str) -> EvaluationRecord:
    """Return the evaluations of disjoint users as one; layers carry no counts by user."""
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
        overall=_with_interval(overall, mean_interval(right, pairs)),
        distinctive=_join_layer([e.distinctive for e in parts]),
        consensus=_join_layer([e.consensus for e in parts]),
        global_overall=_with_interval(global_overall, mean_interval(globally_right, pairs)),
        length=_join_layer([e.length for e in parts]),
        by_user=_counts(users, pairs, right),
        global_by_user=_counts(users, pairs, globally_right),
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


def _with_interval(
    layer: AccuracyRecord, interval: tuple[float | None, float | None, float | None]
) -> AccuracyRecord:
    """Return an accuracy with its mean and ends set."""
    accuracy, low, high = interval
    return layer.model_copy(update={"accuracy": accuracy, "low": low, "high": high})


def _counts(users: list[str], pairs: FloatArray, correct: FloatArray) -> UserCounts:
    """Return counts by user as a record holds them."""
    whole = [[round(value) for value in column.tolist()] for column in (pairs, correct)]
    return UserCounts(users=users, pairs=whole[0], correct=whole[1])


def _mean(values: list[float], weights: list[int]) -> float:
    """Return the mean weighted by pairs; the plain mean where there are none."""
    return float(np.average(values, weights=weights if any(weights) else None))


def _mean_or_none(values: list[float | None]) -> float | None:
    """Return the mean of values that are all known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _sum_times(records: list[TrialRecord]) -> dict[str, float | str]:
    """Return the seconds of all folds, and the earliest of what is no number."""
    times: dict[str, float | str] = {}
    for key in records[0].times:
        values = [record.times[key] for record in records if key in record.times]
        numbers = [value for value in values if not isinstance(value, str)]
        times[key] = sum(numbers) if numbers else min(str(value) for value in values)
    return times
