"""The rule that picks one setting of many, on plain arrays: best, comparison, recommendation.

In come counts per user of S settings, what each costs and how far it breaks the constraint; out
come the best row, every row's paired interval against it, and the row to use: the cheapest one
that is non-inferior to the best. Ranking applies the rule to the users there are; optimism
applies it again to resamples of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scpo.arrays import FloatArray
from scpo.statistics.bootstrap import Interval, intervals


@dataclass(frozen=True)
class Comparison:
    """S settings against the best of them.

    Attributes:
        best: Row of the most accurate feasible setting; of all where none is feasible.
        chosen: Row of the setting to use.
        differences: Of each setting, accuracy minus the best's, a fraction.
        non_inferior: Shape (S,), whether its interval is above `-margin`; true of the best.
    """

    best: int
    chosen: int
    differences: list[Interval]
    non_inferior: NDArray[np.bool_]


def compare_settings(
    correct: FloatArray,
    pairs: FloatArray,
    pairs_trained: FloatArray,
    violation: FloatArray,
    *,
    margin: float,
    num_resamples: int | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare every setting with the best, and choose one.

    Args:
        correct: Shape (S, U), right pairs of each setting and user; at least one setting.
        pairs: Shape (U,), pairs of each user.
        pairs_trained: Shape (S,), what a setting costs.
        violation: Shape (S,), by how much the constraint is broken; 0 is feasible.
        margin: Accuracy, as a fraction, that a cheaper setting may lose.
        num_resamples: Bootstrap draws; None for as many as every interval has.
        seed: Seed of the draws.
    """
    accuracy = correct.sum(axis=1) / pairs.sum()
    best = _best_row(accuracy, pairs_trained, violation)
    differences = intervals(correct - correct[best], pairs, num_resamples=num_resamples, seed=seed)
    non_inferior = np.array([each.low is not None and each.low > -margin for each in differences])
    non_inferior[best] = True
    return Comparison(
        best=best,
        chosen=_chosen_row(accuracy, pairs_trained, violation, non_inferior),
        differences=differences,
        non_inferior=non_inferior,
    )


def _best_row(accuracy: FloatArray, pairs_trained: FloatArray, violation: FloatArray) -> int:
    """Return the most accurate feasible row; of equal ones the cheapest, then the first."""
    feasible = violation == 0.0
    rows = np.flatnonzero(feasible if feasible.any() else ~feasible)
    return int(rows[np.lexsort((pairs_trained[rows], -accuracy[rows]))[0]])


def _chosen_row(
    accuracy: FloatArray,
    pairs_trained: FloatArray,
    violation: FloatArray,
    non_inferior: NDArray[np.bool_],
) -> int:
    """Return the cheapest non-inferior feasible row; without any, the one that violates least."""
    feasible = violation == 0.0
    if not feasible.any():
        return int(np.lexsort((pairs_trained, -accuracy, violation))[0])
    rows = np.flatnonzero(feasible & non_inferior)
    return int(rows[np.lexsort((-accuracy[rows], pairs_trained[rows]))[0]])
