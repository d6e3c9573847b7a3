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

from scpo.statistics.accuracy import check_margins
from scpo.statistics.bootstrap import Interval, intervals, jackknife_interval, sum_by_user


@dataclass(frozen=True)
class McNemar:
    """McNemar's tests of b against c pairs that one model alone orders right."""

    exact_p: float  # two-sided binomial: the smaller tail twice, at most 1
    statistic: float  # (|b - c| - 1)^2 / (b + c), 0 where b and c differ by less than 1
    chi_square_p: float  # its upper tail under chi-square with one degree of freedom


@dataclass(frozen=True)
class PairedDifference:
    """Accuracy of a model minus that of a baseline, on the same pairs."""

    bootstrap: Interval  # the difference, in -1..1, with its interval by user bootstrap
    jackknife: Interval  # the same with the interval by user jackknife
    pairs: int
    model_only: int  # pairs that the model alone orders right, b
    baseline_only: int  # pairs that the baseline alone orders right, c
    mcnemar: McNemar  # tests of b against c; pairs taken for independent

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the columns of a table's row."""
        return {
            **self.bootstrap.columns("difference"),
            "t_low": self.jackknife.low,
            "t_high": self.jackknife.high,
            "pairs": self.pairs,
            "users": self.bootstrap.users,
            "model_only": self.model_only,
            "baseline_only": self.baseline_only,
            "mcnemar_exact_p": self.mcnemar.exact_p,
            "mcnemar_statistic": self.mcnemar.statistic,
            "mcnemar_p": self.mcnemar.chi_square_p,
        }


def paired_differences(
    margins: Mapping[str, ArrayLike], baseline: ArrayLike, user: ArrayLike
) -> dict[str, PairedDifference]:
    """Return how far each model's accuracy is above the baseline's, by name.

    A tie, m = 0, counts as wrong. The margins m = r+ - r- of each model and of the baseline, and
    the user of each pair, are of shape (P,).

    Raises:
        ValueError: Shapes differ, or a margin is not finite.
    """
    *right, also = check_margins([*margins.values(), baseline], user) > 0
    sums = sum_by_user([*(1.0 * ours - also for ours in right), np.ones(len(also))], user)
    gains, pairs = sums[:-1], sums[-1]
    figures = intervals(gains, pairs)
    found = {}
    for name, ours, gain, figure in zip(margins, right, gains, figures, strict=True):
        model_only = int(np.count_nonzero(ours & ~also))
        baseline_only = int(np.count_nonzero(~ours & also))
        found[name] = PairedDifference(
            bootstrap=figure,
            jackknife=jackknife_interval(gain, pairs),
            pairs=len(also),
            model_only=model_only,
            baseline_only=baseline_only,
            mcnemar=mcnemar(model_only, baseline_only),
        )
    return found


def mcnemar(model_only: int, baseline_only: int) -> McNemar:
    """Return McNemar's exact test and its chi-square with continuity correction, of b against c.

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
