"""Points of data-efficiency curves: accuracy against pairs, for each arm of `curves.arms`.

In come the records of a run; out come points, one per country, arm, budget and seed, and one per
country, arm and budget with the seeds averaged (seed None). Pooled points join all countries at
one budget, a share of the labelled training pairs. Each carries its counts by user, which every
interval downstream comes from.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sweeps.curves.runs import curve_trials
from sweeps.ledger.pooled import Cell, PooledRow, gather_cells, pool_cells, sort_arms
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import CURVE_ORDER, POOLED

Axis = Literal["trained", "labelled"]
AXES: tuple[Axis, ...] = ("trained", "labelled")

Cells = Mapping[tuple[str, float], Sequence[Cell]]  # by arm and budget, one a country


@dataclass(frozen=True)
class CurvePoint(PooledRow):
    """One point of a curve, where there are pairs, so that its accuracy is known."""

    budget: float  # share of the labelled training pairs used, 0..1
    seed: int | None  # None where seeds are averaged


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


def pairs_of(point: CurvePoint, axis: Axis) -> float:
    """Return a point's number of pairs on an axis."""
    pairs = point.pairs_trained if axis == "trained" else point.pairs_labelled
    return pairs or 0.0


def missing_curve(points: Sequence[CurvePoint]) -> str | None:
    """Return why there is nothing to draw, in a sentence; None when there is."""
    budgets = sorted({point.budget for point in points})
    if len(budgets) > 1:
        return None
    found = f"only those at {budgets[0]:g}" if budgets else "none"
    return (
        f"A curve needs trainings at two budgets or more, but the run has {found} so far. "
        "Resume the sweep, with several shares of the labelled pairs in `curves.budgets`."
    )


def missing_layers(points: Sequence[CurvePoint]) -> str | None:
    """Return why there are no layers to draw, in a sentence; None when there are."""
    problem = missing_curve(points)
    if problem is None and not any(point.distinctive_pairs for point in points):
        return "No validation pair is distinctive: the global model orders all of them right."
    return problem


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
    return CurvePoint(**vars(row), budget=cells[0].budget, seed=seed)
