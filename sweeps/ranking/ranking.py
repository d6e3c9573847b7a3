"""Ranking of one country's searched settings, and the one to recommend.

In come the `search` records of a run; out come, per country, the Pareto front (accuracy up,
pairs trained down) with knee and hypervolume, for every setting a paired comparison with the
best feasible one by bootstrap over validation users, and the cheapest setting non-inferior to
it. Figures are those the search chose by, so they flatter, by `optimism`; test figures are in
arms_table. Pruned trials are counted and otherwise never looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scpo.statistics.bootstrap import Interval
from sweeps.ledger.records import EvaluationRecord, TrialRecord, read_records
from sweeps.ledger.user_counts import align_by_user, evaluation_of
from sweeps.ranking.optimism import estimate_optimism
from sweeps.ranking.pareto import find_knee, hypervolume, pareto_front
from sweeps.ranking.recommendation import Candidates, compare_settings

MARGIN = 0.01
REFERENCE = (0.5, 1.1)  # a coin's accuracy, at 110 % of the pairs so that `full` counts


@dataclass(frozen=True)
class RankedSetting:
    """One complete trial of a search among its country's others."""

    record: TrialRecord
    accuracy: float  # on all validation pairs, a fraction, from the counts that draws use
    pairs_trained: float
    violation: float  # sum of the broken constraints' values; 0 when feasible
    rank: int  # 1 is the best: feasible first, then accuracy, then fewer pairs trained
    on_front: bool  # no feasible setting is as accurate and as cheap, and better in one
    is_knee: bool  # where the front bends most; see `find_knee`
    recommended: bool
    difference: Interval  # accuracy minus the best's, a fraction, paired by user
    non_inferior: bool  # whether the interval is above `-margin`; always true of the best

    @property
    def evaluation(self) -> EvaluationRecord:
        """Its evaluation on validation users."""
        return evaluation_of(self.record, "validation")

    @property
    def indistinguishable(self) -> bool | None:
        """Whether the interval contains 0; None with fewer than 2 users."""
        return None if self.difference.low is None else self.difference.sign == 0

    @property
    def feasible(self) -> bool:
        """Whether every constraint holds."""
        return self.violation == 0.0


@dataclass(frozen=True)
class CountryRanking:
    """The ranked settings of one country; none when every trial failed."""

    country: str
    settings: tuple[RankedSetting, ...]  # best rank first
    margin: float  # non-inferiority margin, a fraction of accuracy
    optimism: float | None  # of the recommended setting's accuracy; None with fewer than 2 users
    # Accuracy times share of the pairs that the feasible settings dominate, up to `REFERENCE`;
    # None where a trial does not say how many pairs there were.
    hypervolume: float | None
    num_failed: int
    num_pruned: int  # stopped early, so not ranked

    @property
    def recommended(self) -> RankedSetting | None:
        """The setting to use; None when nothing could be ranked."""
        return next((setting for setting in self.settings if setting.recommended), None)

    @property
    def best(self) -> RankedSetting | None:
        """The most accurate feasible setting, of all where none is feasible; or None."""
        feasible = [setting for setting in self.settings if setting.feasible]
        return max(feasible or self.settings, key=lambda one: one.accuracy, default=None)

    @property
    def knee(self) -> RankedSetting | None:
        """The setting at the front's knee; None where the front has no bend."""
        return next((setting for setting in self.settings if setting.is_knee), None)

    @property
    def front(self) -> tuple[RankedSetting, ...]:
        """The settings on the Pareto front, fewest pairs first."""
        front = [setting for setting in self.settings if setting.on_front]
        return tuple(sorted(front, key=lambda setting: setting.pairs_trained))


def rank_country(
    records: Sequence[TrialRecord], country: str, *, margin: float = MARGIN
) -> CountryRanking:
    """Rank the complete search trials of one country and choose one.

    Records may be of any country and purpose; of several with one trial_id the last counts. Trials
    without validation pairs cannot be ranked and are left out. `margin` is how much accuracy, as a
    fraction, a cheaper setting may lose.

    Raises:
        ValueError: `0 <= margin < 1` does not hold, the country has no search trial, a trial was
            evaluated on other users than the rest, or lacks its evaluation or an objective.
    """
    if not 0.0 <= margin < 1.0:
        raise ValueError(f"`0 <= margin < 1` must hold, but got margin={margin}.")
    searched = [r for r in records if r.purpose == "search" and r.country == country]
    if not searched:
        raise ValueError(f"No search trial of {country!r} is in the records.")
    searched = list({r.trial_id: r for r in searched}.values())
    complete = [r for r in searched if r.state == "complete"]
    rankable = [r for r in complete if evaluation_of(r, "validation").overall.pairs > 0]
    for record in rankable:
        if "pairs_trained" not in record.objectives:
            raise ValueError(f"Trial {record.trial_id} has no objective `pairs_trained`.")
    settings, optimism = _rank(rankable, margin) if rankable else ((), None)
    return CountryRanking(
        country=country,
        settings=settings,
        margin=margin,
        optimism=optimism,
        hypervolume=_hypervolume(settings),
        num_failed=sum(r.state == "failed" for r in searched),
        num_pruned=sum(r.state == "pruned" for r in searched),
    )


def rank_records(
    records: Sequence[TrialRecord], *, margin: float = MARGIN
) -> list[CountryRanking]:
    """Rank every country that was searched, by name; arguments as `rank_country`."""
    countries = sorted({r.country for r in records if r.purpose == "search"})
    return [rank_country(records, country, margin=margin) for country in countries]


def rank_run(run: Path, *, margin: float = MARGIN) -> list[CountryRanking]:
    """Rank every searched country of a run's ledger; arguments as `rank_country`.

    Raises:
        FileNotFoundError: The run has no ledger.
        ValueError: The ledger holds no search trial, or as `rank_country`.
    """
    rankings = rank_records(read_records(run), margin=margin)
    if not rankings:
        raise ValueError(f"No search trial is in {run}. Run `scpo sweep` first.")
    return rankings


def _rank(
    records: list[TrialRecord], margin: float
) -> tuple[tuple[RankedSetting, ...], float | None]:
    """Return complete trials in order, compared with the best, and the choice's optimism."""
    counts = align_by_user(records, "validation")
    accuracy = counts.correct.sum(axis=1) / counts.pairs.sum()
    cost = np.array([record.objectives["pairs_trained"] for record in records])
    broken = [sum(max(0.0, value) for value in r.constraints.values()) for r in records]
    violation, ids = np.array(broken, dtype=np.float64), [record.trial_id for record in records]
    keys = list(zip(violation, -accuracy, cost, ids, strict=True))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    records, counts = [records[row] for row in order], counts.take(order)
    accuracy, cost, violation = accuracy[order], cost[order], violation[order]
    candidates = Candidates(counts.correct, counts.pairs, cost, violation)
    result = compare_settings(candidates, margin=margin)
    values = np.column_stack([accuracy, cost])
    compared = np.flatnonzero((violation == 0.0) | (violation != 0.0).all())
    front = compared[pareto_front(values[compared])].tolist()
    knee = find_knee(values[front])
    settings = tuple(
        RankedSetting(
            record=record,
            accuracy=float(accuracy[row]),
            pairs_trained=float(cost[row]),
            violation=float(violation[row]),
            rank=row + 1,
            on_front=row in front,
            is_knee=knee is not None and row == front[knee],
            recommended=row == result.chosen,
            difference=result.differences[row],
            non_inferior=bool(result.non_inferior[row]),
        )
        for row, record in enumerate(records)
    )
    return settings, estimate_optimism(candidates, chosen=result.chosen, margin=margin)


def _hypervolume(settings: Sequence[RankedSetting]) -> float | None:
    available = [setting.record.counts.get("pairs_available", 0.0) for setting in settings]
    if not settings or not all(available):
        return None
    values = [
        (setting.accuracy, setting.pairs_trained / count)
        for setting, count in zip(settings, available, strict=True)
        if setting.feasible
    ]
    return hypervolume(np.array(values).reshape(-1, 2), REFERENCE)
