"""The rule that picks one setting of many, on plain arrays: best, comparison, recommendation.

In come counts per user of S settings, what each costs and how far it breaks the constraint; out
come the best row, every row's paired interval against it, and the row to use: the cheapest one
that is non-inferior to the best. Ranking applies the rule to the users there are; optimism
applies it again to resamples of them.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scpo.arrays import FloatArray, IntArray
from scpo.statistics.bootstrap import Interval, intervals


@dataclass(frozen=True)
class Candidates:
    """S settings to choose from, judged on the same U users."""

    correct: FloatArray  # shape (S, U), right pairs of each setting and user; at least one setting
    pairs: FloatArray  # shape (U,), pairs of each user
    pairs_trained: FloatArray  # shape (S,), what a setting costs
    violation: FloatArray  # shape (S,), by how much the constraint is broken; 0 is feasible

    def drawn(self, draw: IntArray) -> "Candidates":
        """Return the same settings on a resample that holds each user so often, (U,)."""
        users = np.repeat(np.arange(len(draw)), draw)
        return replace(self, correct=self.correct[:, users], pairs=self.pairs[users])


@dataclass(frozen=True)
class Comparison:
    """S settings against the best of them."""

    best: int  # row of the most accurate feasible setting; of all where none is feasible
    chosen: int  # row of the setting to use
    differences: list[Interval]  # of each setting, accuracy minus the best's, a fraction
    non_inferior: NDArray[np.bool_]  # shape (S,), interval above `-margin`; true of the best


def compare_settings(
    candidates: Candidates, *, margin: float, num_resamples: int | None = None, seed: int = 0
) -> Comparison:
    """Compare every setting with the best, and choose one.

    `margin` is the accuracy, a fraction, that a cheaper setting may lose; without `num_resamples`
    there are as many draws as every interval has.
    """
    correct, costs = candidates.correct, candidates.pairs_trained
    accuracy = correct.sum(axis=1) / candidates.pairs.sum()
    feasible = candidates.violation == 0.0
    # the most accurate; of equal ones the cheapest, then the first
    rows = np.flatnonzero(feasible if feasible.any() else ~feasible)
    best = int(rows[np.lexsort((costs[rows], -accuracy[rows]))[0]])
    differences = intervals(
        correct - correct[best], candidates.pairs, num_resamples=num_resamples, seed=seed
    )
    non_inferior = np.array([each.low is not None and each.low > -margin for each in differences])
    non_inferior[best] = True
    if feasible.any():
        rows = np.flatnonzero(feasible & non_inferior)
        chosen = int(rows[np.lexsort((-accuracy[rows], costs[rows]))[0]])
    else:
        chosen = int(np.lexsort((costs, -accuracy, candidates.violation))[0])
    return Comparison(best, chosen, differences, non_inferior)
