"""Rows of the study: records of one data set come in, accuracies with intervals go out.

Seeds of an arm are averaged per user before the interval is taken; differences to `full`,
`global`, `length` and `random_k` are paired on the same users. Pooled rows join the pairs of all
countries; a question that several countries answered is drawn as one there, with all answers.

Legend: S seeds, U users (or questions).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scpo.arrays import FloatArray
from scpo.statistics.bootstrap import mean_interval
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.user_counts import align_by_user, evaluation_of
from sweeps.ledger.words import ARMS, BASELINE, GLOBAL, LENGTH, POOLED, TUNED_ARM
from sweeps.research.study.frozen_arrays import in_units
from sweeps.research.study_page.layer_intervals import Layer, average_seeds, join_countries

STUDY_ARMS = (*(arm for arm in ARMS if arm != LENGTH), TUNED_ARM, LENGTH)
RANDOM = "random_k"
BASELINES = (BASELINE, GLOBAL, LENGTH, RANDOM)
PART = "validation"  # the name of the held-out side of a fold


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval, None with fewer than 2 users."""

    value: float
    low: float | None
    high: float | None

    @property
    def sign(self) -> int:
        """Return 1 or -1 where the interval lies on one side of 0, else 0."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True)
class StudyRow:
    """One arm in one country, or pooled; accuracies are fractions 0..1.

    Attributes:
        country: Its name, or "pooled".
        arm: The arm.
        accuracy: On all pairs.
        seed_sd: Standard deviation of the accuracy between seeds (n - 1); None with one.
        num_seeds: Seeds averaged.
        against: Paired difference to each of `BASELINES` but itself.
        distinctive: Accuracy where the global model is wrong, with the interval of
            `sweeps.research.study_page.layer_intervals`; None without pairs.
        distinctive_pairs: Number of those.
        consensus: Accuracy where it is right.
        consensus_pairs: Number of those.
        pairs: Pairs judged.
        users: Users, or questions, that gave them.
        pairs_trained: Pairs that a training kept, mean over folds and seeds, summed over
            countries.
        num_countries: Countries in the row.
    """

    country: str
    arm: str
    accuracy: Interval
    seed_sd: float | None
    num_seeds: int
    against: Mapping[str, Interval]
    distinctive: Interval | None
    distinctive_pairs: int
    consensus: Interval | None
    consensus_pairs: int
    pairs: int
    users: int
    pairs_trained: float
    num_countries: int


@dataclass(frozen=True)
class _Cell:
    """One arm in one country: right pairs by seed and user, distinctive and consensus."""

    country: str
    users: NDArray[np.str_]
    pairs: FloatArray
    correct: FloatArray
    layers: tuple[Layer, Layer]
    pairs_trained: float


def study_rows(records: Sequence[TrialRecord], unit: str) -> list[StudyRow]:
    """Return pooled rows, where there are two countries, then those of each country.

    Args:
        records: One record a country, arm and seed, every user judged in each.
        unit: "user" or "question"; questions are one across countries.

    Raises:
        ValueError: Records of a country were judged on different pairs.
    """
    countries = list(dict.fromkeys(record.country for record in records))
    cells: dict[str, dict[str, _Cell]] = {arm: {} for arm in STUDY_ARMS}
    for country in countries:
        mine = [record for record in records if record.country == country]
        for arm, cell in _cells_of(mine).items():
            cells[arm][country] = cell
    groups = [(country, [country]) for country in countries]
    if len(countries) > 1:
        groups.insert(0, (POOLED, countries))
    rows = []
    for name, members in groups:
        for arm in STUDY_ARMS:
            chosen = {key: cells[arm][key] for key in members if key in cells[arm]}
            if chosen:
                rows.append(_row(name, arm, chosen, cells, unit))
    return rows


def find_row(rows: Sequence[StudyRow], country: str, arm: str) -> StudyRow | None:
    """Return the row of an arm in a country, None where there is none."""
    found = [row for row in rows if (row.country, row.arm) == (country, arm)]
    return found[0] if found else None


def _cells_of(records: list[TrialRecord]) -> dict[str, _Cell]:
    """Return the cells of one country by arm."""
    latest = {(record.arm, record.seed): record for record in records}
    kept = [latest[key] for key in sorted(latest)]
    counts = align_by_user(kept, PART)
    cells = {}
    for arm in STUDY_ARMS:
        chosen = [row for row, record in enumerate(kept) if record.arm == arm]
        if not chosen:
            continue
        evaluations = [evaluation_of(kept[row], PART) for row in chosen]
        cells[arm] = _Cell(
            records[0].country,
            np.array(counts.users),
            counts.pairs,
            counts.correct[chosen],
            (
                average_seeds([each.distinctive for each in evaluations]),
                average_seeds([each.consensus for each in evaluations]),
            ),
            float(np.mean([kept[row].counts.get("pairs_trained", 0.0) for row in chosen])),
        )
    return cells


def _row(
    name: str,
    arm: str,
    cells: dict[str, _Cell],
    every: dict[str, dict[str, _Cell]],
    unit: str,
) -> StudyRow:
    """Return the row of an arm over the countries of its cells."""
    own = list(cells.values())
    user = np.concatenate([cell.users for cell in own])
    if len(own) > 1:
        user = in_units(user, unit)
    pairs = np.concatenate([cell.pairs for cell in own])
    right = np.concatenate([cell.correct.mean(axis=0) for cell in own])
    num_seeds = min(len(cell.correct) for cell in own)
    by_seed = [sum(c.correct[n].sum() for c in own) / pairs.sum() for n in range(num_seeds)]
    distinctive, consensus = (
        join_countries([cell.layers[n] for cell in own], unit) for n in (0, 1)
    )
    return StudyRow(
        country=name,
        arm=arm,
        accuracy=_interval(right, pairs, user),
        seed_sd=float(np.std(by_seed, ddof=1)) if num_seeds > 1 else None,
        num_seeds=num_seeds,
        against=_against(arm, cells, every, user),
        distinctive=_layer_interval(distinctive),
        distinctive_pairs=distinctive.pairs,
        consensus=_layer_interval(consensus),
        consensus_pairs=consensus.pairs,
        pairs=int(pairs.sum()),
        users=len(np.unique(user)),
        pairs_trained=sum(cell.pairs_trained for cell in own),
        num_countries=len(own),
    )


def _against(
    arm: str,
    cells: dict[str, _Cell],
    every: dict[str, dict[str, _Cell]],
    user: NDArray[np.str_],
) -> dict[str, Interval]:
    """Return an arm's paired differences to the baselines that all its countries have."""
    pairs = np.concatenate([cell.pairs for cell in cells.values()])
    against = {}
    for baseline in BASELINES:
        others = every[baseline]
        if baseline != arm and cells.keys() <= others.keys():
            gains = [
                c.correct.mean(axis=0) - others[key].correct.mean(axis=0)
                for key, c in cells.items()
            ]
            against[baseline] = _interval(np.concatenate(gains), pairs, user)
    return against


def _layer_interval(layer: Layer) -> Interval | None:
    """Return a layer's accuracy; None without pairs."""
    value, low, high = layer.ends
    return None if value is None else Interval(value, low, high)


def _interval(right: FloatArray, pairs: FloatArray, user: NDArray[np.str_]) -> Interval:
    """Return right / pairs with its interval by user, whose rows are joined first."""
    _, index = np.unique(user, return_inverse=True)
    totals, counts = (
        np.bincount(index, weights=values).astype(np.float64) for values in (right, pairs)
    )
    value, low, high = mean_interval(totals, counts)
    assert value is not None  # every cell has pairs
    return Interval(value, low, high)
