"""The choice among heads that were judged on held-out folds of users, on plain counts.

In come right pairs by user of S candidates, means over deals of the folds; out comes the candidate
to use: the most accurate one, or the one whose gain over a base has the best lower bound.

Legend: S candidates, U users.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_expit

from scpo.arrays import BoolArray, FloatArray, IntArray
from scpo.statistics.lower_bound import choose_over_base, student_ends


@dataclass(frozen=True)
class FoldCounts:
    """How candidates order the pairs of users who did not train them."""

    pairs: FloatArray  # shape (U,), pairs of each user
    right: FloatArray  # shape (S, U), those ordered right
    global_right: FloatArray  # shape (U,), those that the global model orders right
    consensus: FloatArray  # shape (U,), pairs on which the global model is right
    lost: FloatArray  # shape (S, U), those of them that a candidate orders wrong
    loss: FloatArray  # shape (S,), mean of softplus(-margin)
    started: BoolArray  # shape (S,), whether the candidate could be trained in every fold

    def excess(self, max_consensus_drop: float) -> FloatArray:
        """Return by how much each candidate is shown to lose too much consensus, (S,)."""
        if not self.consensus.any():
            return np.zeros(len(self.right))
        low, _ = student_ends(self.lost, self.consensus)
        return np.maximum(low - max_consensus_drop, 0.0)

    def order(self, max_consensus_drop: float = 1.0) -> IntArray:
        """Return the candidates that started, the best first.

        Those that keep the consensus come first, then those that are shown to break it least;
        among equals the most accurate, then that of least loss.
        """
        right = np.rint(1e6 * self.right.sum(axis=1))  # means over deals may round
        order = np.lexsort((self.loss, -right, self.excess(max_consensus_drop)))
        return order[self.started[order]]


def count_margins(
    margins: FloatArray, reference_margin: FloatArray, user: NDArray[Any], started: BoolArray
) -> FoldCounts:
    """Return counts by user of S candidates' margins of P pairs, mean over D deals.

    `margins` have shape (D, S, P), those of the global model and the user of each pair (P,); a tie
    counts as wrong.

    Raises:
        ValueError: A margin is not finite.
    """
    if not np.all(np.isfinite(margins)):
        raise ValueError("Margins of heads must be finite, but some are not. Raise l2.")
    names, index = np.unique(user, return_inverse=True)
    whose = np.eye(len(names))[index]
    right, consensus = margins > 0, reference_margin >= 0
    return FoldCounts(
        pairs=whose.sum(axis=0),
        right=right.mean(axis=0) @ whose,
        global_right=(reference_margin > 0) @ whose,
        consensus=consensus @ whose,
        lost=(~right & consensus).mean(axis=0) @ whose,
        loss=-log_expit(margins).mean(axis=(0, 2)),
        started=started,
    )


def choose_in_folds(
    counts: FoldCounts,
    full: int | None,
    rows: IntArray,
    *,
    caution: float,
    max_consensus_drop: float = 1.0,
) -> int | None:
    """Return the candidate of `rows` to use, or the base: `full`, or None for the global model.

    The base is `full`, a candidate's number, unless the global model is shown to be more accurate,
    or there is no such candidate.

    Raises:
        ValueError: See `scpo.statistics.lower_bound.lower_bounds`.
    """
    base = counts.global_right if full is None else counts.right[full]
    if (
        full is not None
        and choose_over_base(counts.global_right[None], base, counts.pairs, caution=caution)
        is not None
    ):
        full, base = None, counts.global_right
    allowed = counts.started & (counts.excess(max_consensus_drop) == 0.0)
    found = choose_over_base(
        counts.right[rows], base, counts.pairs, caution=caution, allowed=allowed[rows]
    )
    return full if found is None else int(rows[found])
