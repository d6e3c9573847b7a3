"""The rules that pick settings of many, on plain arrays: base, accuracy, thrift.

In come counts per user of S settings, of plain fine-tuning among them and of the global model,
what each setting costs and how far it breaks the constraint. The base is `full`, or the global
model where that is shown to be more accurate. Out come the base, the setting whose gain over it
has the best lower bound (the base where none is above 0), and the cheapest that is non-inferior
to it. Ranking applies the rules to the users there are; optimism makes the first choice again on
resamples of them.
"""

from dataclasses import dataclass, replace

import numpy as np

from scpo.arrays import BoolArray, FloatArray, IntArray
from scpo.statistics.bootstrap import Interval, intervals
from scpo.statistics.lower_bound import choose_over_base
from sweeps.config import Answer, SearchConfig, SweepConfig

GLOBAL_ROW = -1  # stands for the global model among rows of settings
_DEFAULTS = SearchConfig()


@dataclass(frozen=True)
class ChoiceRule:
    """How settings are chosen."""

    margin: float = _DEFAULTS.non_inferiority  # accuracy that a cheaper setting may lose
    caution: float = _DEFAULTS.caution  # k of the lower bound
    max_consensus_drop: float = _DEFAULTS.max_consensus_drop
    which: Answer = "accuracy"  # the answer that is trained and tested

    def __post_init__(self) -> None:
        if not 0.0 <= self.margin < 1.0:
            raise ValueError(f"`0 <= margin < 1` must hold, but got margin={self.margin}.")


DEFAULT_RULE = ChoiceRule()


def rule_of(config: SweepConfig) -> ChoiceRule:
    """Return how a sweep's configuration says to choose."""
    search = config.search
    return ChoiceRule(
        search.non_inferiority, search.caution, search.max_consensus_drop, config.final.which
    )


@dataclass(frozen=True)
class Candidates:
    """S settings to choose from, judged on the same U users as the global model."""

    correct: FloatArray  # shape (S, U), right pairs of each setting and user
    pairs: FloatArray  # shape (U,), pairs of each user
    global_correct: FloatArray  # shape (U,), right pairs of the global model
    pairs_trained: FloatArray  # shape (S,), what a setting costs
    violation: FloatArray  # shape (S,), by how much the constraint is broken; 0 is feasible
    full: int | None  # row of plain fine-tuning with the configured numbers; None without it

    @property
    def rows(self) -> FloatArray:
        """Right pairs of the settings and, as the last row, of the global model, (S + 1, U)."""
        return np.vstack([self.correct, self.global_correct])

    def drawn(self, draw: IntArray) -> "Candidates":
        """Return the same settings on a resample that holds each user so often, (U,)."""
        users = np.repeat(np.arange(len(draw)), draw)
        return replace(
            self,
            correct=self.correct[:, users],
            pairs=self.pairs[users],
            global_correct=self.global_correct[users],
        )


@dataclass(frozen=True)
class Comparison:
    """S settings and the global model against the base; `GLOBAL_ROW` is the global model."""

    base: int
    accuracy: int  # row of best lower bound over the base, where one is above 0; else the base
    thrift: int  # cheapest row that is non-inferior to the base; the global model costs nothing
    differences: list[Interval]  # of S settings and the global model, accuracy minus the base's
    non_inferior: BoolArray  # shape (S + 1,), interval above `-margin`; true of the base


def choose_base(candidates: Candidates, caution: float) -> int:
    """Return the row of `full`, or of the global model where it is shown to be better.

    `full` is the base where neither is shown to be better, since the country's own pairs are
    what a sweep is run for. Without `full`, or where it breaks the constraint, it is the global
    model.
    """
    full = candidates.full
    if full is None or candidates.violation[full] > 0.0:
        return GLOBAL_ROW
    better = choose_over_base(
        candidates.global_correct[None],
        candidates.correct[full],
        candidates.pairs,
        caution=caution,
    )
    return full if better is None else GLOBAL_ROW


def choose_accurate(candidates: Candidates, caution: float) -> tuple[int, int]:
    """Return the rows of the base and of the setting to use, which is the base where none pays.

    Settings that break the constraint are never chosen.
    """
    base = choose_base(candidates, caution)
    chosen = choose_over_base(
        candidates.correct,
        candidates.rows[base],
        candidates.pairs,
        caution=caution,
        allowed=candidates.violation == 0.0,
    )
    return base, base if chosen is None else chosen


def compare_settings(
    candidates: Candidates,
    rule: ChoiceRule,
    *,
    num_resamples: int | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare every setting with the base, and choose by accuracy and by thrift.

    Without `num_resamples` there are as many draws as every interval has.
    """
    base, accuracy = choose_accurate(candidates, rule.caution)
    rows, pairs = candidates.rows, candidates.pairs
    differences = intervals(rows - rows[base], pairs, num_resamples=num_resamples, seed=seed)
    good = np.array([each.low is not None and each.low > -rule.margin for each in differences])
    good[base] = True
    allowed = np.flatnonzero(good & np.append(candidates.violation == 0.0, True))
    costs = np.append(candidates.pairs_trained, 0.0)[allowed]
    # the cheapest; of equal ones the most accurate, then the first
    cheapest = int(allowed[np.lexsort((-rows[allowed].sum(axis=1), costs))[0]])
    thrift = GLOBAL_ROW if cheapest == len(candidates.correct) else cheapest
    return Comparison(base, accuracy, thrift, differences, good)
