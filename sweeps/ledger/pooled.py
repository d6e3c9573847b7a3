"""One table of pooled rows: records to the accuracy of each arm over seeds and countries.

A cell holds the records of one arm (at one budget) in one country: a record a seed, all on the
same pairs. A row pools cells: seeds are averaged per user, the users of all countries stand side
by side, and differences to another arm are paired by user. Arms table, ablation, study and
curves choose cells and columns; every accuracy and interval of theirs is made here.

Legend: S seeds, U users.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from scpo.arrays import FloatArray, Row
from scpo.files.csv_files import write_csv
from scpo.statistics.bootstrap import Interval, interval
from sweeps.ledger.records import EvaluationRecord, TrialRecord
from sweeps.ledger.user_counts import UserMatrix, align_by_user
from sweeps.ledger.words import ARM_ORDER, BASELINE, GLOBAL, POOLED

NameUser = Callable[[str, str], Hashable]  # country and user to what the bootstrap draws whole
Join = Callable[[Iterable[FloatArray]], FloatArray]

_UNKNOWN = Interval(None, None, None, 0)


@dataclass(frozen=True)
class Cell:
    """One arm at one budget in one country; `counts` has a row for each record."""

    country: str
    arm: str
    budget: float
    records: tuple[TrialRecord, ...]
    counts: UserMatrix

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each record, ascending."""
        return tuple(record.seed for record in self.records)

    @cached_property
    def right(self) -> FloatArray:
        """Pairs ordered right, mean over seeds, shape (U,)."""
        return np.asarray(self.counts.correct.mean(axis=0))

    @property
    def evaluations(self) -> list[EvaluationRecord]:
        """The evaluation of each record."""
        return [record.evaluation for record in self.records if record.evaluation is not None]

    def right_of(self, seed: int) -> float:
        """Return the pairs that one seed ordered right."""
        return float(self.counts.correct[self.seeds.index(seed)].sum())

    def take(self, seeds: Sequence[int]) -> "Cell":
        """Return the cell with some of its seeds."""
        rows = [row for row, seed in enumerate(self.seeds) if seed in seeds]
        records = tuple(self.records[row] for row in rows)
        return Cell(self.country, self.arm, self.budget, records, self.counts.take(rows))


@dataclass(frozen=True)
class UserTotals:
    """Pairs and pairs ordered right of each of U users, seeds averaged."""

    users: tuple[Hashable, ...]
    pairs: tuple[float, ...]
    correct: tuple[float, ...]


@dataclass(frozen=True)
class PooledRow:
    """One arm in one country, or pooled over countries; accuracies are fractions 0..1."""

    country: str  # or "pooled"
    arm: str
    accuracy: Interval  # on all pairs
    by_seed: tuple[float, ...]  # accuracy of each seed that all the countries have
    num_seeds: int  # seeds averaged, in the country with the fewest
    num_countries: int
    country_mean: float | None  # plain mean of the countries' accuracies, in pooled rows only
    against: Mapping[str, Interval]  # paired differences by the arm compared with
    # Where the global model is wrong; no interval where a record does not count them by user.
    distinctive: Interval
    distinctive_pairs: int
    consensus: Interval  # on the other pairs
    consensus_pairs: int
    global_accuracy: float | None  # of the global model
    length_accuracy: float | None  # of "the longer response wins"
    pairs_labelled: float | None  # mean over seeds, summed over countries; None where one lacks it
    pairs_trained: float | None  # the same of the pairs that an arm keeps
    by_user: UserTotals = field(repr=False)  # the counts by user that `accuracy` comes from

    @property
    def pairs(self) -> int:
        """Number of pairs judged."""
        return int(sum(self.by_user.pairs))

    @property
    def users(self) -> int:
        """Number of users that gave them."""
        return len(self.by_user.users)

    @property
    def seed_deviation(self) -> float | None:
        """Standard deviation of the accuracy between seeds (n - 1); None with one."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else None

    def difference(self, arm: str) -> Interval:
        """Return the paired difference to an arm, of no value where there is none."""
        return self.against.get(arm, _UNKNOWN)

    def columns(self) -> Row:
        """Return all of its figures as plain values by column; differences are `vs_ARM`."""
        columns = {
            name: getattr(self, name)
            for name in (
                "country", "arm", "pairs", "users", "num_seeds", "num_countries", "country_mean",
                "distinctive_pairs", "consensus_pairs", "global_accuracy", "length_accuracy",
                "pairs_labelled", "pairs_trained",
            )
        }  # fmt: skip
        columns |= self.accuracy.columns("accuracy") | {"seed_sd": self.seed_deviation}
        columns |= self.distinctive.columns("distinctive", "distinctive_")
        columns |= self.consensus.columns("consensus", "consensus_")
        for arm, difference in self.against.items():
            columns |= difference.columns(f"vs_{arm}", f"vs_{arm}_")
        return columns


def write_columns(names: Sequence[str], rows: Iterable[Row], path: Path) -> None:
    """Write the named columns of rows as CSV, empty cells for what is not known."""
    write_csv(names, [{name: row.get(name) for name in names} for row in rows], path)


def user_of_country(country: str, user: str) -> Hashable:
    """Return a name that keeps the users of countries apart."""
    return country, user


def budget_of(record: TrialRecord) -> float:
    """Return the share of the labelled pairs that a training was given, 1 where it says none."""
    budget = record.config.get("budget")
    return 1.0 if budget is None else float(budget)


def gather_cells(records: Iterable[TrialRecord], part: str) -> list[Cell]:
    """Return the complete records as cells, by country and then arm, in the order of records.

    Of several records with one country, arm, budget and seed the last counts. Every evaluation
    must come from the `part`, "validation" or "test".

    Raises:
        ValueError: A record comes from another part, or from other pairs than the rest of its
            country.
    """
    countries: dict[str, dict[tuple[str, float, int], TrialRecord]] = defaultdict(dict)
    for record in records:
        if record.state == "complete":
            key = (record.arm, budget_of(record), record.seed)
            countries[record.country][key] = record
    cells = []
    for country, latest in countries.items():
        counts = align_by_user(list(latest.values()), part)
        rows: dict[tuple[str, float], list[tuple[int, int]]] = defaultdict(list)
        for row, (arm, budget, seed) in enumerate(latest):
            rows[arm, budget].append((seed, row))
        for (arm, budget), found in rows.items():
            chosen = [row for _, row in sorted(found)]
            of_cell = [list(latest.values())[row] for row in chosen]
            cells.append(Cell(country, arm, budget, tuple(of_cell), counts.take(chosen)))
    return cells


def pooled_rows(
    cells: Sequence[Cell],
    *,
    order: Sequence[str] = ARM_ORDER,
    bases: Sequence[str] = (BASELINE,),
    name_user: NameUser = user_of_country,
) -> list[PooledRow]:
    """Return pooled rows, where there are two countries, then those of each country.

    Args:
        cells: As `gather_cells` returns them, an arm at one budget.
        order: Arms in the order of the rows; others follow by name.
        bases: Arms to compare with; "global" needs no cell, every record counts it.
        name_user: Users of one name are drawn as one.
    """
    by_arm: dict[str, dict[str, Cell]] = defaultdict(dict)
    for cell in cells:
        by_arm[cell.arm][cell.country] = cell
    right = {
        base: {country: cell.right for country, cell in by_arm[base].items()}
        for base in bases
        if base in by_arm
    }
    if GLOBAL in bases:
        right[GLOBAL] = {cell.country: cell.counts.global_correct for cell in cells}
    countries = list(dict.fromkeys(cell.country for cell in cells))
    groups = {country: [country] for country in countries}
    if len(countries) > 1:
        groups = {POOLED: countries, **groups}
    rows = []
    for name, members in groups.items():
        for arm in sort_arms(by_arm, order):
            chosen = [by_arm[arm][country] for country in members if country in by_arm[arm]]
            if chosen:
                rows.append(pool_cells(name, chosen, right, name_user=name_user))
    return rows


def sort_arms(arms: Iterable[str], order: Sequence[str]) -> list[str]:
    """Return arms in the given order, unknown ones last by name."""
    return sorted(arms, key=lambda arm: (order.index(arm) if arm in order else len(order), arm))


def note_countries(row: PooledRow, rows: Iterable[PooledRow]) -> str:
    """Return e.g. "2 of 3 countries" of a pooled row that lacks some of the rows' countries."""
    if row.country != POOLED:
        return ""
    total = len({each.country for each in rows} - {POOLED})
    return f"{row.num_countries} of {total} countries" if row.num_countries < total else ""


def find_row(rows: Sequence[PooledRow], country: str, arm: str) -> PooledRow | None:
    """Return the row of an arm in a country, None where there is none."""
    return next((row for row in rows if (row.country, row.arm) == (country, arm)), None)


def pool_cells(
    country: str,
    cells: Sequence[Cell],
    bases: Mapping[str, Mapping[str, FloatArray]] | None = None,
    *,
    name_user: NameUser = user_of_country,
) -> PooledRow:
    """Return the row of one arm over its cells, one a country; see `pooled_rows`.

    `bases` holds, by arm to compare with and country, pairs ordered right by user, shape (U,).
    """
    names = [name_user(cell.country, user) for cell in cells for user in cell.counts.users]
    position = {name: number for number, name in enumerate(dict.fromkeys(names))}
    index = np.array([position[name] for name in names], dtype=np.int64)

    def join(columns: Iterable[FloatArray]) -> FloatArray:
        """Sum values by user of each cell over all the row's users."""
        values = np.concatenate([*columns])
        return np.bincount(index, values, minlength=len(position)).astype(np.float64)

    pairs, right = join(c.counts.pairs for c in cells), join(c.right for c in cells)
    total = float(pairs.sum())
    seeds = sorted(set.intersection(*(set(cell.seeds) for cell in cells)))
    countries = [c.right.sum() / c.counts.pairs.sum() for c in cells if c.counts.pairs.any()]
    lengths = [cell.evaluations[0].length for cell in cells]
    layers = {name: _layer(cells, name, join) for name in ("distinctive", "consensus")}
    return PooledRow(
        country=country,
        arm=cells[0].arm,
        accuracy=interval(right, pairs),
        by_seed=tuple(sum(c.right_of(seed) for c in cells) / total for seed in seeds if total),
        num_seeds=min(len(cell.records) for cell in cells),
        num_countries=len(cells),
        country_mean=float(np.mean(countries)) if country == POOLED and countries else None,
        against=_differences(cells, bases or {}, join),
        distinctive=layers["distinctive"][0],
        distinctive_pairs=layers["distinctive"][1],
        consensus=layers["consensus"][0],
        consensus_pairs=layers["consensus"][1],
        global_accuracy=_share(sum(c.counts.global_correct.sum() for c in cells), total),
        length_accuracy=_share(sum((r.accuracy or 0.0) * r.pairs for r in lengths), total),
        pairs_labelled=_sum_of_means(cells, "pairs_labelled"),
        pairs_trained=_sum_of_means(cells, "pairs_trained"),
        by_user=UserTotals(tuple(position), tuple(pairs.tolist()), tuple(right.tolist())),
    )


def _differences(
    cells: Sequence[Cell], bases: Mapping[str, Mapping[str, FloatArray]], join: Join
) -> dict[str, Interval]:
    """Return the paired difference to each other arm that all countries of the row have."""
    against = {}
    pairs = join(cell.counts.pairs for cell in cells)
    for base, right in bases.items():
        if base != cells[0].arm and all(cell.country in right for cell in cells):
            against[base] = interval(join(c.right - right[c.country] for c in cells), pairs)
    return against


def _layer(cells: Sequence[Cell], name: str, join: Join) -> tuple[Interval, int]:
    """Return the accuracy and the pairs of a layer; no interval without counts by user."""
    counts = [cell.counts.layer(name) for cell in cells]
    known = [layer for layer in counts if layer is not None]
    if len(known) == len(cells):
        pairs = join(pairs for _, pairs in known)
        return interval(join(right.mean(axis=0) for right, _ in known), pairs), int(pairs.sum())
    of_cells = [[getattr(found, name) for found in cell.evaluations] for cell in cells]
    total = sum(records[0].pairs for records in of_cells)
    right = sum(
        records[0].pairs * float(np.mean([record.accuracy or 0.0 for record in records]))
        for records in of_cells
    )
    users = sum(records[0].users for records in of_cells)
    return Interval(_share(right, total), None, None, users), total


def _sum_of_means(cells: Sequence[Cell], name: str) -> float | None:
    """Return a count, its mean over the seeds that have it; None where a country has none."""
    found = [[r.counts[name] for r in cell.records if name in r.counts] for cell in cells]
    return sum(float(np.mean(counts)) for counts in found) if all(found) else None


def _share(part: float, total: float) -> float | None:
    return float(part) / total if total else None
