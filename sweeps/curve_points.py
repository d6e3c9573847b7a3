"""Points of data-efficiency curves: accuracy against pairs, for `full`, `scpo` and `random_k`.

In come the `curve` records of a run, evaluated on validation users, and what its search trained
at the corner of the space that is `full`, rungs included; out come points, one per country, arm,
budget and seed, and one per country, arm and budget with the seeds averaged (seed None). Pooled
points join all countries at one budget, a share of the labelled training pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweeps.intervals import FloatArray, align_by_user, evaluation_of, mean_interval
from sweeps.records import TrialRecord

POOLED = "pooled"
ARM_ORDER = ("full", "scpo", "random_k")


@dataclass(frozen=True)
class CurvePoint:
    """One point of a curve; `seed` is None where seeds are averaged.

    `budget` is the share of the labelled training pairs used, 0..1. Accuracies are fractions;
    `low` and `high` end the 95 % interval by user, None with fewer than 2 users.
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
    global_accuracy: float
    length_accuracy: float


@dataclass(frozen=True)
class _Run:
    """What one point is made of in one country: shapes (U,) per user."""

    country: str
    pairs: FloatArray
    correct: FloatArray
    global_correct: FloatArray
    length_correct: float
    labelled: float
    trained: float


_Key = tuple[str, float, int]  # arm, budget, seed


def curve_points(records: Sequence[TrialRecord]) -> list[CurvePoint]:
    """Return the points of all curves: pooled first where there are two countries.

    A pooled point needs every country that has the arm; a budget that one lacks is left out,
    for a change of countries would bend the line. Of several records with one country, arm,
    budget and seed the last counts.

    Raises:
        ValueError: A curve trial lacks `budget` or a count, is not evaluated on validation
            users, or on other users than the rest of its country.
    """
    runs = _runs(records)
    points = []
    if len(runs) > 1:
        shared: dict[_Key, list[_Run]] = {}
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


def full_of_search(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trainings of a search that are plain fine-tuning, as records of arm `full`."""
    return [
        record.model_copy(update={"arm": "full"})
        for record in records
        if record.purpose in ("search", "rung")
        and record.state == "complete"
        and (record.config.get("retention"), record.config.get("strength")) == (1.0, 0.0)
    ]


def curve_numbers(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what all points of a curve must share: rate, epochs, adapters and folds."""
    return tuple(config.get(name) for name in ("learning_rate", "epochs", "lora_rank", "folds"))


def _fitting(searched: list[TrialRecord], curves: list[TrialRecord]) -> list[TrialRecord]:
    """Return the searched records that lie on one line with a country's others."""
    lines: dict[str, set[tuple[Any, ...]]] = {}
    for record in curves:
        if record.arm == "full":
            lines.setdefault(record.country, set()).add(_line(record))
    for record in searched:
        lines.setdefault(record.country, {_line(record)})
    return [record for record in searched if _line(record) in lines[record.country]]


def _line(record: TrialRecord) -> tuple[Any, ...]:
    """Return what the points of one seed's line share."""
    return record.seed, *curve_numbers(record.config)


def _runs(records: Sequence[TrialRecord]) -> dict[str, dict[_Key, _Run]]:
    """Return {country: {(arm, budget, seed): run}}, all sorted."""
    found: dict[str, dict[_Key, TrialRecord]] = {}
    curves = [r for r in records if r.purpose == "curve" and r.state == "complete"]
    for record in (*_fitting(full_of_search(records), curves), *curves):
        key = (record.arm, _budget(record), record.seed)
        found.setdefault(record.country, {})[key] = record
    runs: dict[str, dict[_Key, _Run]] = {}
    for country in sorted(found):
        keys = sorted(found[country], key=_key_order)
        chosen = [found[country][key] for key in keys]
        counts = align_by_user(chosen, "validation")
        if counts.pairs.sum() == 0:
            continue
        runs[country] = {
            key: _Run(
                country=country,
                pairs=counts.pairs,
                correct=counts.correct[row],
                global_correct=counts.global_correct,
                length_correct=_length_correct(record),
                labelled=_count(record, "pairs_labelled"),
                trained=_count(record, "pairs_trained"),
            )
            for row, (key, record) in enumerate(zip(keys, chosen, strict=True))
        }
    return runs


def _points(country: str, runs: dict[_Key, list[_Run]]) -> list[CurvePoint]:
    """Return per-seed points and, after them, those with the seeds averaged."""
    seeds: dict[tuple[str, float], list[int]] = {}
    for arm, budget, seed in sorted(runs, key=_key_order):
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
    country: str, arm: str, budget: float, seed: int | None, seeds: list[list[_Run]]
) -> CurvePoint:
    """Join countries (inner lists, concatenated) and seeds (outer list, averaged per user)."""
    pairs = np.concatenate([run.pairs for run in seeds[0]])
    correct = np.mean([np.concatenate([run.correct for run in runs]) for runs in seeds], axis=0)
    accuracy, low, high = mean_interval(correct, pairs)
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
        global_accuracy=sum(float(run.global_correct.sum()) for run in seeds[0]) / total,
        length_accuracy=sum(run.length_correct for run in seeds[0]) / total,
    )


def _key_order(key: _Key) -> tuple[int, _Key]:
    """Order arms as they are drawn, then budgets, then seeds."""
    arm = key[0]
    return (ARM_ORDER.index(arm) if arm in ARM_ORDER else len(ARM_ORDER)), key


def _budget(record: TrialRecord) -> float:
    """Return the budget of a curve trial, in (0, 1]."""
    budget = record.config.get("budget")
    if not (isinstance(budget, float | int) and 0 < budget <= 1):
        raise ValueError(
            f"`0 < budget <= 1` must hold in the config of a curve trial, "
            f"but trial {record.trial_id} has budget={budget}."
        )
    return float(budget)


def _count(record: TrialRecord, name: str) -> float:
    """Return a positive count of a curve trial."""
    value = record.counts.get(name, 0)
    if not value > 0:  # a log scale has no place for it
        raise ValueError(f"`{name} > 0` must hold, but curve trial {record.trial_id} has {value}.")
    return value


def _length_correct(record: TrialRecord) -> float:
    """Return how many validation pairs `longer response wins` orders right."""
    length = evaluation_of(record, "validation").length
    return (length.accuracy or 0.0) * length.pairs
