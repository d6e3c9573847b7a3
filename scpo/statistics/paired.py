"""Two models on the same pairs: which orders more of them right, and how sure that is.

In come both models' margins and the user of each pair, out comes the difference of their
accuracies. Its interval comes from the bootstrap by user, and beside it from the jackknife by
user, which holds its level down to 4 users. McNemar's tests look at the pairs that one model
alone gets right; they take pairs for independent, so with several pairs a user their p is too
small: read them beside the interval and not in its place.

Legend: M models, P pairs, U users.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom, chi2

from scpo.arrays import FloatArray
from scpo.statistics.bootstrap import (
    NUM_RESAMPLES,
    divide_draws,
    jackknife_ends,
    quantile_ends,
    resample_sums,
    sum_by_user,
)


@dataclass(frozen=True)
class McNemar:
    """McNemar's tests of b against c pairs that one model alone orders right.

    Attributes:
        exact_p: Two-sided binomial: the smaller tail twice, at most 1.
        statistic: (|b - c| - 1)^2 / (b + c), 0 where b and c differ by less than 1.
        chi_square_p: Its upper tail under chi-square with one degree of freedom.
    """

    exact_p: float
    statistic: float
    chi_square_p: float


@dataclass(frozen=True)
class PairedDifference:
    """Accuracy of a model minus that of a baseline, on the same pairs.

    Attributes:
        difference: In -1..1; None without pairs.
        low: Lower end of the 95 % interval by user bootstrap; None with fewer than 2 users.
        high: Its upper end.
        t_low: Lower end of the 95 % jackknife interval by user.
        t_high: Its upper end.
        pairs: Number of pairs.
        users: Number of users.
        model_only: Pairs that the model alone orders right, b.
        baseline_only: Pairs that the baseline alone orders right, c.
        mcnemar_exact_p: As of `McNemar`; pairs taken for independent.
        mcnemar_statistic: As of `McNemar`.
        mcnemar_p: As of `McNemar`.
    """

    difference: float | None
    low: float | None
    high: float | None
    t_low: float | None
    t_high: float | None
    pairs: int
    users: int
    model_only: int
    baseline_only: int
    mcnemar_exact_p: float
    mcnemar_statistic: float
    mcnemar_p: float


def paired_differences(
    margins: Mapping[str, ArrayLike],
    baseline: ArrayLike,
    user: ArrayLike,
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, PairedDifference]:
    """Return how far each model's accuracy is above the baseline's, by name.

    A tie, m = 0, counts as wrong. All models share the resamples.

    Args:
        margins: Margins m = r+ - r- of each model, each of shape (P,), finite.
        baseline: The baseline's margins, shape (P,), finite.
        user: User of each pair, shape (P,).
        num_resamples: Bootstrap draws.
        seed: Seed of the draws.

    Raises:
        ValueError: Shapes differ, or a margin is not finite.
    """
    ours = np.array([np.asarray(margin, dtype=np.float64) for margin in margins.values()])
    theirs = np.asarray(baseline, dtype=np.float64)
    if ours.shape != (len(margins), *theirs.shape) or theirs.shape != np.shape(user):
        raise ValueError(
            f"All margins and user must have one shape, but got {ours.shape[1:]}, "
            f"{theirs.shape} and {np.shape(user)}."
        )
    if not (np.all(np.isfinite(ours)) and np.all(np.isfinite(theirs))):
        raise ValueError("Margins must be finite to be compared, but some are not.")
    right, also = ours > 0, theirs > 0
    only = np.stack([right & ~also, ~right & also], axis=1).sum(axis=2)  # (M, 2)
    sums = sum_by_user([*(right * 1.0 - also), np.ones(theirs.shape)], user)
    drawn = None
    if sums.shape[1] > 1:
        drawn = resample_sums(sums, num_resamples=num_resamples, seed=seed)
        drawn = divide_draws(drawn[:, :-1], drawn[:, -1:])
    return {
        name: _difference(sums[[row, -1]], only[row], None if drawn is None else drawn[:, row])
        for row, name in enumerate(margins)
    }


def mcnemar(model_only: int, baseline_only: int) -> McNemar:
    """Return McNemar's exact test and its chi-square with continuity correction.

    Args:
        model_only: Pairs that one model alone orders right, b >= 0.
        baseline_only: Pairs that the other alone orders right, c >= 0.

    Raises:
        ValueError: A count is negative.
    """
    if min(model_only, baseline_only) < 0:
        raise ValueError(
            f"`b >= 0` and `c >= 0` must hold, but got b={model_only}, c={baseline_only}."
        )
    total = model_only + baseline_only
    if total == 0:
        return McNemar(1.0, 0.0, 1.0)
    exact = min(1.0, 2 * float(binom.cdf(min(model_only, baseline_only), total, 0.5)))
    statistic = max(0, abs(model_only - baseline_only) - 1) ** 2 / total
    return McNemar(exact, statistic, float(chi2.sf(statistic, 1)))


def _difference(sums: FloatArray, only: FloatArray, drawn: FloatArray | None) -> PairedDifference:
    """Return one model's difference from its sums and pairs by user, (2, U), and its draws."""
    totals, counts = sums
    num_users, num_pairs = len(counts), int(counts.sum())
    ends = (None, None) if drawn is None else quantile_ends(drawn, num_users)
    test = mcnemar(int(only[0]), int(only[1]))
    return PairedDifference(
        float(totals.sum()) / num_pairs if num_pairs else None,
        *ends,
        *jackknife_ends(totals, counts),
        num_pairs,
        num_users,
        int(only[0]),
        int(only[1]),
        test.exact_p,
        test.statistic,
        test.chi_square_p,
    )
