"""How many users a search would need, before anything is trained.

Nothing is known yet of how far settings differ, so it is assumed: two settings order one pair in
ten differently, and the pairs of a user are independent. Then the variance of a difference over
P pairs is at most 0.1 / P. The report says the same from the variance seen.
"""

import math
from collections.abc import Iterable

import numpy as np

from scpo.countries.country_data import CountryData
from scpo.statistics.lower_bound import users_needed
from sweeps.ranking.power import DIFFERENCES

ASSUMED_SHARE = 0.1  # of the pairs, that two settings order differently
_NEEDED = "{country}: {users} judge its settings, {one:,} would show 1 point and {three:,} 3"


def describe_power_before(countries: Iterable[CountryData], num_folds: int) -> str:
    """Return how many users show 1 and 3 points in each country, and the assumption."""
    lines = []
    for data in countries:
        parts = ("train", "validation") if num_folds > 1 else ("validation",)
        judged = np.concatenate([data.pairs_in(part) for part in parts])
        num_users = len(np.unique(data.user[judged]))
        if num_users:
            one, three = needed_before(num_users, len(judged))
            lines.append(
                _NEEDED.format(country=data.country, users=num_users, one=one, three=three)
            )
    return (
        f"power, users (95 % interval, four times in five): {'; '.join(lines)}. Assumed: two "
        f"settings order {100 * ASSUMED_SHARE:.0f} % of the pairs differently, a user's pairs are "
        "independent"
    )


def needed_before(num_users: int, num_pairs: int) -> tuple[int, int]:
    """Return the users that show 1 and 3 points, each with as many pairs as these users have."""
    error = math.sqrt(ASSUMED_SHARE / num_pairs)
    one, three = (users_needed(each, error=error, num_users=num_users) for each in DIFFERENCES)
    return one, three
