"""Ranking of one country's searched settings, and the three answers to which one to use.

In come the `search` records of a run; out come, per country, the Pareto front (accuracy up,
pairs trained down) with knee and hypervolume, for every setting a paired comparison with the
base by bootstrap over validation users, and the answers:

    accuracy  the setting whose gain over the base is surest, else the base itself
    thrift    the cheapest setting that loses no more than the margin to the base
    balance   the knee of the front; as accuracy where the front has none

The base is plain fine-tuning, or the global model where that is shown to be more accurate.
Figures are those the search chose by, so they flatter, by `optimism`; test figures are in
arms_table. Pruned trials are counted and otherwise never looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scpo.arrays import FloatArray
from scpo.statistics.bootstrap import Interval
from sweeps.config import Answer
from sweeps.ledger.records import EvaluationRecord, TrialRecord
from sweeps.ledger.same_setting import is_full
from sweeps.ledger.user_counts import UserMatrix, align_by_user, evaluation_of
from sweeps.ranking.consensus import ConsensusVerdict, judge_consensus
from sweeps.ranking.optimism import estimate_optimism
from sweeps.ranking.pareto import find_knee, hypervolume, pareto_front
from sweeps.ranking.recommendation import (
    DEFAULT_RULE,
    GLOBAL_ROW,
    Candidates,
    ChoiceRule,
    Comparison,
    compare_settings,
)

REFERENCE = (0.5, 1.1)  # a coin's accuracy, at 110 % of the pairs so that `full` counts


@dataclass(frozen=True)
class RankedSetting:
    """One complete trial of a search among its country's others."""

    record: TrialRecord
    accuracy: float  # on all validation pairs, a fraction, from the counts that draws use
    pairs_trained: float
    consensus: ConsensusVerdict  # what it loses of the global model's accuracy there
    rank: int  # 1 is the best: feasible first, then accuracy, then fewer pairs trained
    on_front: bool  # no feasible setting is as accurate and as cheap, and better in one
    is_knee: bool  # where the front bends most; see `find_knee`
    is_base: bool  # whether the others are compared with it
    answers: tuple[Answer, ...]  # those that it is
    difference: Interval  # accuracy minus the base's, a fraction, paired by user
    non_inferior: bool  # whether the interval is above `-margin`; always true of the base

    @property
    def evaluation(self) -> EvaluationRecord:
        """Its evaluation on validation users."""
        return evaluation_of(self.record, "validation")

    @property
    def recommended(self) -> bool:
        """Whether it is the answer by accuracy."""
        return "accuracy" in self.answers

    @property
    def indistinguishable(self) -> bool | None:
        """Whether the interval contains 0; None with fewer than 2 users."""
        return None if self.difference.low is None else self.difference.sign == 0

    @property
    def violation(self) -> float:
        """By how much constraints are broken; 0 when feasible."""
        return self.consensus.violation

    @property
    def feasible(self) -> bool:
        """Whether no constraint is shown to be broken."""
        return self.violation == 0.0


@dataclass(frozen=True)
class CountryRanking:
    """The ranked settings of one country; none when every trial failed."""

    country: str
    settings: tuple[RankedSetting, ...]  # best rank first
    # The setting of each answer, None for the global model; empty when nothing could be ranked.
    answers: Mapping[Answer, RankedSetting | None]
    global_difference: Interval  # accuracy of the global model minus the base's, by user
    rule: ChoiceRule
    optimism: float | None  # of the answer by accuracy; None with fewer than 2 users
    # Accuracy times share of the pairs that the feasible settings dominate, up to `REFERENCE`;
    # None where a trial does not say how many pairs there were.
    hypervolume: float | None
    num_failed: int
    num_pruned: int  # stopped early, so not ranked

    @property
    def recommended(self) -> RankedSetting | None:
        """The setting of the answer by accuracy; None for the global model or no answer."""
        return self.answers.get("accuracy")

    @property
    def trained(self) -> RankedSetting | None:
        """The setting that is trained and tested; None for the global model or no answer."""
        return self.answers.get(self.rule.which)

    @property
    def base(self) -> RankedSetting | None:
        """Plain fine-tuning, where it is the base; None where the global model is."""
        return next((setting for setting in self.settings if setting.is_base), None)

    @property
    def accuracy(self) -> float | None:
        """The validation accuracy of the answer by accuracy; None where there is none."""
        if not self.settings:
            return None
        return self.global_accuracy if self.recommended is None else self.recommended.accuracy

    @property
    def global_accuracy(self) -> float | None:
        """The validation accuracy of the global model; None where nothing is ranked."""
        return self.settings[0].evaluation.global_overall.accuracy if self.settings else None

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
    records: Sequence[TrialRecord], country: str, *, rule: ChoiceRule = DEFAULT_RULE
) -> CountryRanking:
    """Rank the complete search trials of one country and answer which one to use.

    Records may be of any country and purpose; of several with one trial_id the last counts. Trials
    without validation pairs cannot be ranked and are left out.

    Raises:
        ValueError: The country has no search trial, a trial was evaluated on other users than the
            rest, or lacks its evaluation or an objective.
    """
    searched = [r for r in records if r.purpose == "search" and r.country == country]
    if not searched:
        raise ValueError(f"No search trial of {country!r} is in the records.")
    searched = list({r.trial_id: r for r in searched}.values())
    complete = [r for r in searched if r.state == "complete"]
    rankable = [r for r in complete if evaluation_of(r, "validation").overall.pairs > 0]
    for record in rankable:
        if "pairs_trained" not in record.objectives:
            raise ValueError(f"Trial {record.trial_id} has no objective `pairs_trained`.")
    settings: tuple[RankedSetting, ...] = ()
    answers: dict[Answer, RankedSetting | None] = {}
    optimism, against = None, Interval(None, None, None, 0)
    if rankable:
        settings, answers, against, optimism = _rank(rankable, rule)
    return CountryRanking(
        country=country,
        settings=settings,
        answers=answers,
        global_difference=against,
        rule=rule,
        optimism=optimism,
        hypervolume=_hypervolume(settings),
        num_failed=sum(r.state == "failed" for r in searched),
        num_pruned=sum(r.state == "pruned" for r in searched),
    )


def rank_records(
    records: Sequence[TrialRecord], *, rule: ChoiceRule = DEFAULT_RULE
) -> list[CountryRanking]:
    """Rank every country that was searched, by name; arguments as `rank_country`."""
    countries = sorted({r.country for r in records if r.purpose == "search"})
    return [rank_country(records, country, rule=rule) for country in countries]


def rank_searched(
    records: Sequence[TrialRecord], run: Path, *, rule: ChoiceRule = DEFAULT_RULE
) -> list[CountryRanking]:
    """Rank every country that a run has searched; arguments as `rank_country`.

    Raises:
        ValueError: The records hold no search trial, or as `rank_country`.
    """
    rankings = rank_records(records, rule=rule)
    if not rankings:
        raise ValueError(f"No search trial is in {run}. Run `scpo sweep` first.")
    return rankings


def candidates_of(settings: Sequence[RankedSetting]) -> Candidates:
    """Return the ranked settings of a country, at least one, as rows of counts by user."""
    records = [setting.record for setting in settings]
    return _candidates(
        records,
        align_by_user(records, "validation"),
        np.array([setting.violation for setting in settings]),
    )


def _rank(
    records: list[TrialRecord], rule: ChoiceRule
) -> tuple[tuple[RankedSetting, ...], dict[Answer, RankedSetting | None], Interval, float | None]:
    """Return complete trials in order, the answers, the global model's gain, the optimism."""
    counts = align_by_user(records, "validation")
    verdicts = judge_consensus(records, counts, rule.max_consensus_drop)
    accuracy = counts.correct.sum(axis=1) / counts.pairs.sum()
    keys = [
        (verdict.violation, -share, record.objectives["pairs_trained"], record.trial_id)
        for verdict, share, record in zip(verdicts, accuracy.tolist(), records, strict=True)
    ]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    records, counts = [records[row] for row in order], counts.take(order)
    verdicts, accuracy = [verdicts[row] for row in order], accuracy[order]
    violation = np.array([verdict.violation for verdict in verdicts])
    candidates = _candidates(records, counts, violation)
    result = compare_settings(candidates, rule)
    cost = candidates.pairs_trained
    values = np.column_stack([accuracy, cost])
    compared = np.flatnonzero((violation == 0.0) | (violation != 0.0).all())
    front = compared[pareto_front(values[compared])].tolist()
    bend = find_knee(values[front])
    knee = None if bend is None else int(front[bend])
    rows = _answer_rows(result, None if knee is None or violation[knee] > 0 else knee)
    settings = tuple(
        RankedSetting(
            record=record,
            accuracy=float(accuracy[row]),
            pairs_trained=float(cost[row]),
            consensus=verdicts[row],
            rank=row + 1,
            on_front=row in front,
            is_knee=row == knee,
            is_base=row == result.base,
            answers=tuple(name for name, chosen in rows.items() if chosen == row),
            difference=result.differences[row],
            non_inferior=bool(result.non_inferior[row]),
        )
        for row, record in enumerate(records)
    )
    answers = {name: None if row == GLOBAL_ROW else settings[row] for name, row in rows.items()}
    optimism = estimate_optimism(candidates, chosen=result.accuracy, caution=rule.caution)
    return settings, answers, result.differences[GLOBAL_ROW], optimism


def _answer_rows(result: Comparison, knee: int | None) -> dict[Answer, int]:
    balance = result.accuracy if knee is None else knee
    return {"accuracy": result.accuracy, "thrift": result.thrift, "balance": balance}


def _candidates(
    records: Sequence[TrialRecord], counts: UserMatrix, violation: FloatArray
) -> Candidates:
    # the first trial at the corner has the configured numbers; later ones may have others
    plain = [(record.trial_id, row) for row, record in enumerate(records) if is_full(record)]
    return Candidates(
        counts.correct,
        counts.pairs,
        counts.global_correct,
        np.array([record.objectives["pairs_trained"] for record in records]),
        violation,
        min(plain)[1] if plain else None,
    )


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
