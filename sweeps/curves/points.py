"""Points of data-efficiency curves: accuracy against pairs, for each arm of `curves.arms`.

In come the records of a run; out come points, one per country, arm, budget and seed, and one per
country, arm and budget with the seeds averaged (seed None). Pooled points join all countries at
one budget, a share of the labelled training pairs. Each carries its counts by user, which every
interval downstream comes from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from scpo.arrays import FloatArray
from scpo.statistics.bootstrap import mean_interval
from sweeps.curves.runs import CurveRun, Key, curve_runs, key_order
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import POOLED


@dataclass(frozen=True)
class UserTotals:
    """Pairs and pairs ordered right of each of U users; seeds averaged where a point does."""

    users: tuple[str, ...]
    pairs: tuple[float, ...]
    correct: tuple[float, ...]


@dataclass(frozen=True)
class CurvePoint:
    """One point of a curve; `seed` is None where seeds are averaged.

    `budget` is the share of the labelled training pairs used, 0..1. Accuracies are fractions;
    `low` and `high` end the 95 % interval by user, None with fewer than 2 users. `distinctive`
    and `consensus` are accuracies on the pairs where the global model is wrong and on the rest,
    None without such pairs.
    """

    country: str
    arm: str
    budget: float
    seed: int | None
    num_seeds: int
    pairs_labelled: float
    pairs_trained: float
    accuracy: float
    low: float | None
    high: float | None
    pairs: int
    users: int
    distinctive: float | None
    distinctive_pairs: int
    consensus: float | None
    consensus_pairs: int
    global_accuracy: float
    length_accuracy: float
    by_user: UserTotals = field(repr=False)


def curve_points(records: Sequence[TrialRecord]) -> list[CurvePoint]:
    """Return the points of all curves: pooled first where there are two countries.

    A pooled point needs every country that has the arm; a budget that one lacks is left out,
    for a change of countries would bend the line. Of several records with one country, arm,
    budget and seed the last counts.

    Raises:
        ValueError: A curve trial lacks `budget` or a count, is not evaluated on validation
            users, or on other users than the rest of its country.
    """
    runs = curve_runs(records)
    points = []
    if len(runs) > 1:
        shared: dict[Key, list[CurveRun]] = {}
        for of_country in runs.values():
            for key, run in of_country.items():
                shared.setdefault(key, []).append(run)
        num_countries = {
            arm: sum(any(key[0] == arm for key in of_country) for of_country in runs.values())
            for arm in {key[0] for key in shared}
        }
        points.extend(
            _points(POOLED, {k: r for k, r in shared.items() if len(r) == num_countries[k[0]]})
        )
    for country, of_country in runs.items():
        points.extend(_points(country, {key: [run] for key, run in of_country.items()}))
    return points


def _points(country: str, runs: dict[Key, list[CurveRun]]) -> list[CurvePoint]:
    """Return per-seed points and, after them, those with the seeds averaged."""
    seeds: dict[tuple[str, float], list[int]] = {}
    for arm, budget, seed in sorted(runs, key=key_order):
        seeds.setdefault((arm, budget), []).append(seed)
    points = []
    for (arm, budget), of_point in seeds.items():
        for seed in of_point:
            points.append(_point(country, arm, budget, seed, [runs[arm, budget, seed]]))
    for (arm, budget), of_point in seeds.items():
        joined = [runs[arm, budget, seed] for seed in of_point]
        points.append(_point(country, arm, budget, None, joined))
    return points


def _point(
    country: str, arm: str, budget: float, seed: int | None, seeds: list[list[CurveRun]]
) -> CurvePoint:
    """Join countries (inner lists, concatenated) and seeds (outer list, averaged per user)."""
    first = seeds[0]
    pairs = np.concatenate([run.pairs for run in first])
    correct = np.mean([np.concatenate([run.correct for run in runs]) for runs in seeds], axis=0)
    accuracy, low, high = mean_interval(correct, pairs)
    distinctive, distinctive_pairs = _layer(seeds, 0)
    consensus, consensus_pairs = _layer(seeds, 1)
    total = float(pairs.sum())
    return CurvePoint(
        country=country,
        arm=arm,
        budget=budget,
        seed=seed,
        num_seeds=len(seeds),
        pairs_labelled=float(np.mean([sum(run.labelled for run in runs) for runs in seeds])),
        pairs_trained=float(np.mean([sum(run.trained for run in runs) for runs in seeds])),
        accuracy=accuracy or 0.0,
        low=low,
        high=high,
        pairs=int(total),
        users=len(pairs),
        distinctive=distinctive,
        distinctive_pairs=distinctive_pairs,
        consensus=consensus,
        consensus_pairs=consensus_pairs,
        global_accuracy=sum(float(run.global_correct.sum()) for run in first) / total,
        length_accuracy=sum(run.length_correct for run in first) / total,
        by_user=_user_totals(first, pairs, correct),
    )


def _layer(seeds: list[list[CurveRun]], number: int) -> tuple[float | None, int]:
    """Return (accuracy, pairs) of a layer, countries joined and seeds averaged."""
    pairs = sum(run.layers[number][1] for run in seeds[0])
    if pairs == 0:
        return None, 0
    right = [sum(run.layers[number][0] for run in runs) for runs in seeds]
    return float(np.mean(right)) / pairs, pairs


def _user_totals(runs: list[CurveRun], pairs: FloatArray, correct: FloatArray) -> UserTotals:
    """Return the counts by user; where countries are joined, users are told apart by theirs."""
    names = [
        user if len(runs) == 1 else f"{run.country}/{user}" for run in runs for user in run.users
    ]
    return UserTotals(tuple(names), tuple(pairs.tolist()), tuple(correct.tolist()))
