"""Made-up curves whose truth is known: users, seeds and arms of given pairs and accuracies."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import ndtri

from scpo.statistics.bootstrap import Interval, interval
from sweeps.curves.points import CurvePoint
from sweeps.ledger.pooled import UserTotals

Truth = Callable[[float], float]  # pairs to accuracy


def make_point(
    arm: str,
    budget: float,
    seed: int | None,
    pairs: Sequence[float],
    correct: Sequence[float],
    *,
    country: str = "Chile",
    num_seeds: int = 1,
    labelled: float = 100.0,
    trained: float | None = None,
    distinctive: float | None = 0.3,
    consensus: float | None = 0.9,
) -> CurvePoint:
    """Return a point of users named 0, 1, ... with these pairs, so many of them right."""
    counts = np.asarray(pairs, dtype=float), np.asarray(correct, dtype=float)
    accuracy = interval(counts[1], counts[0])
    total = int(counts[0].sum())
    return CurvePoint(
        country=country,
        arm=arm,
        budget=budget,
        seed=seed,
        num_seeds=num_seeds,
        pairs_labelled=labelled,
        pairs_trained=labelled if trained is None else trained,
        accuracy=accuracy,
        by_seed=(),
        num_countries=1,
        country_mean=None,
        against={},
        distinctive=Interval(distinctive, None, None, len(counts[0])),
        distinctive_pairs=0 if distinctive is None else total // 3,
        consensus=Interval(consensus, None, None, len(counts[0])),
        consensus_pairs=0 if consensus is None else total - total // 3,
        global_accuracy=0.6,
        length_accuracy=0.55,
        by_user=UserTotals(
            tuple(str(number) for number in range(len(counts[0]))),
            tuple(counts[0].tolist()),
            tuple(counts[1].tolist()),
        ),
    )


def make_world(
    arms: dict[str, Truth],
    budgets: Sequence[float],
    *,
    seed: int = 0,
    num_seeds: int = 3,
    num_users: int = 40,
    most_pairs: int = 1000,
    kept: dict[str, float] | None = None,
    user_sd: float = 0.05,
    seed_sd: float = 0.003,
    shared: float = 0.9,
    country: str = "Chile",
) -> list[CurvePoint]:
    """Return the points of arms on the same users, whose pairs are as hard for every arm.

    Args:
        arms: Accuracy as a function of the pairs labelled, by arm.
        budgets: Shares of `most_pairs`.
        seed: Of all that is random.
        num_seeds: Orders of the data.
        num_users: Users, of about 25 pairs each.
        most_pairs: Pairs labelled at budget 1.
        kept: Share of the pairs that an arm trains on; none: all.
        user_sd: How far users differ, in accuracy.
        seed_sd: How far orders of the data differ, in accuracy.
        shared: Share of a pair's hardness that is the same for every arm and seed.
        country: Name of the country.
    """
    rng = np.random.default_rng(seed)
    sizes = rng.integers(12, 39, num_users)
    user = np.repeat(np.arange(num_users), sizes)
    of_user = rng.normal(0, user_sd, num_users)[user]
    hardness = rng.normal(size=len(user))
    points, means = [], []
    for arm, truth in arms.items():
        for budget in budgets:
            labelled = float(round(budget * most_pairs))
            trained = float(round(labelled * (kept or {}).get(arm, 1.0)))
            own = rng.normal(size=(num_seeds, len(user)))
            level = truth(labelled) + rng.normal(0, seed_sd, size=(num_seeds, 1)) + of_user
            hard = np.sqrt(shared) * hardness + np.sqrt(1 - shared) * own
            is_right = hard < ndtri(np.clip(level, 0.005, 0.995))
            right = np.array([np.bincount(user, weights=row) for row in is_right])
            about = {"country": country, "labelled": labelled, "trained": trained}
            points += [
                make_point(arm, budget, number, sizes, right[number], **about)
                for number in range(num_seeds)
            ]
            mean = right.mean(axis=0)
            means.append(make_point(arm, budget, None, sizes, mean, num_seeds=num_seeds, **about))
    return points + means


def power_truth(c: float, a: float, b: float, ratio: float = 1.0) -> Truth:
    """Return 1 - c - a (ratio n)^-b: the curve of an arm whose pairs count `ratio` times."""
    return lambda pairs: 1 - c - a * (ratio * pairs) ** -b
