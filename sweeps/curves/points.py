"""Points of data-efficiency curves: accuracy against pairs, for each arm of `curves.arms`.

In come the records of a run; out come points, one per country, arm, budget and seed, and one per
country, arm and budget with the seeds averaged (seed None). Pooled points join all countries at
one budget, a share of the labelled training pairs. Each carries its counts by user, which every
interval downstream comes from.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sweeps.curves.runs import curve_trials
from sweeps.ledger.pooled import Cell, UserTotals, gather_cells, pool_cells, sort_arms
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import CURVE_ORDER, POOLED

Cells = Mapping[tuple[str, float], Sequence[Cell]]  # by arm and budget, one a country


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

    A pooled point needs every country that has the arm; a budget or seed that one lacks is left
    out, for a change of countries would bend the line. Of several records with one country, arm,
    budget and seed the last counts.

    Raises:
        ValueError: A curve trial lacks `budget` or a count, is not evaluated on validation
            users, or on other users than the rest of its country.
    """
    trials = sorted(curve_trials(records), key=lambda record: record.country)
    countries: dict[str, dict[tuple[str, float], list[Cell]]] = defaultdict(dict)
    for cell in gather_cells(trials, "validation"):
        if cell.counts.pairs.any():
            countries[cell.country][cell.arm, cell.budget] = [cell]
    points = []
    if len(countries) > 1:
        points += _points(POOLED, _join_countries(countries.values()))
    for country, cells in countries.items():
        points += _points(country, cells)
    return points


def _join_countries(countries: Iterable[Cells]) -> Cells:
    """Return the cells that every country with the arm has, with the seeds they share."""
    joined: dict[tuple[str, float], list[Cell]] = defaultdict(list)
    holders: dict[str, set[str]] = defaultdict(set)
    for cells in countries:
        for key, [cell] in cells.items():
            joined[key].append(cell)
            holders[cell.arm].add(cell.country)
    shared = {}
    for (arm, budget), found in joined.items():
        seeds = set.intersection(*(set(cell.seeds) for cell in found))
        if seeds and len(found) == len(holders[arm]):
            shared[arm, budget] = [cell.take(sorted(seeds)) for cell in found]
    return shared


def _points(country: str, cells: Cells) -> list[CurvePoint]:
    """Return the points of each seed and, after them, those with the seeds averaged."""
    arms = sort_arms({arm for arm, _ in cells}, CURVE_ORDER)
    keys = sorted(cells, key=lambda key: (arms.index(key[0]), key[1]))
    by_seed = [
        _point(country, [cell.take([seed]) for cell in cells[key]], seed)
        for key in keys
        for seed in cells[key][0].seeds
    ]
    return by_seed + [_point(country, cells[key], None) for key in keys]


def _point(country: str, cells: Sequence[Cell], seed: int | None) -> CurvePoint:
    row = pool_cells(country, cells)
    return CurvePoint(
        country=country,
        arm=row.arm,
        budget=cells[0].budget,
        seed=seed,
        num_seeds=row.num_seeds,
        pairs_labelled=row.pairs_labelled or 0.0,
        pairs_trained=row.pairs_trained or 0.0,
        accuracy=row.accuracy.value or 0.0,
        low=row.accuracy.low,
        high=row.accuracy.high,
        pairs=row.pairs,
        users=row.users,
        distinctive=row.distinctive.value,
        distinctive_pairs=row.distinctive_pairs,
        consensus=row.consensus.value,
        consensus_pairs=row.consensus_pairs,
        global_accuracy=row.global_accuracy or 0.0,
        length_accuracy=row.length_accuracy or 0.0,
        by_user=row.by_user,
    )
