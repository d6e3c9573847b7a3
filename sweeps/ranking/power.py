"""How many users would be needed to tell settings apart, from how far their users differ.

In comes a ranking; out come the users that show a difference of so many points to the base in
four of five repeats. Its variance is that of the settings tried: paired by user, the median of
those that differ from the base at all.
"""

from dataclasses import dataclass

import numpy as np

from scpo.statistics.lower_bound import means_by_user, users_needed
from scpo.text.counts import format_count
from sweeps.ranking.ranking import CountryRanking, candidates_of
from sweeps.ranking.recommendation import GLOBAL_ROW

DIFFERENCES = (0.01, 0.03)


@dataclass(frozen=True)
class Power:
    """What a country's validation users can show."""

    num_users: int
    error: float  # standard error of a setting's gain on the base, a fraction of accuracy
    needed: tuple[int, ...]  # users that show each of `DIFFERENCES`


def country_power(ranking: CountryRanking) -> Power | None:
    """Return what a ranking's users can show; None with one user or no setting that differs."""
    if not ranking.settings:
        return None
    candidates = candidates_of(ranking.settings)
    base = GLOBAL_ROW if ranking.base is None else ranking.base.rank - 1
    gains = candidates.correct - candidates.rows[base]
    _, errors = means_by_user(gains, candidates.pairs)
    told = errors[(errors > 0) & np.isfinite(errors)]
    if len(told) == 0:
        return None
    error, num_users = float(np.median(told)), len(candidates.pairs)
    needed = [users_needed(each, error=error, num_users=num_users) for each in DIFFERENCES]
    return Power(num_users, error, tuple(needed))


def describe_power(ranking: CountryRanking) -> str:
    """Return how many users would be needed, in a sentence; "" where it is not known."""
    power = country_power(ranking)
    if power is None:
        return ""
    shown = [
        f"{needed:,} users to show {format_count(round(100 * each), 'point')}"
        for each, needed in zip(DIFFERENCES, power.needed, strict=True)
    ]
    return (
        f"Power: with {format_count(power.num_users, 'user')} the gain of a setting has a "
        f"standard error of {100 * power.error:.1f} points (median); it takes "
        f"{' and '.join(shown)} (95 % interval, four times in five)."
    )
