"""The points of one arm as a line, and its accuracies in many resamples.

A resample draws whole users and whole seeds, both with replacement, and the same ones for every
arm of a country, so that what is common to two arms cancels in their ratio. Seeds stand further
from their mean by sqrt(S / (S - 1)): S drawn of S seeds spread too little by that much.

Legend: K budgets, S seeds, U users, R resamples.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from scpo.arrays import FloatArray
from scpo.statistics.bootstrap import resample_sums
from sweeps.curves.points import CurvePoint

NUM_REFITS = 2000  # resamples, each of which is fitted anew


@dataclass(frozen=True)
class CurveLine:
    """The points of one arm in one country, budgets ascending."""

    country: str
    arm: str
    budgets: tuple[float, ...]  # share of the labelled pairs, K of them
    trained: FloatArray  # pairs trained on, mean over seeds, shape (K,)
    labelled: FloatArray  # pairs labelled, mean over seeds, shape (K,)
    num_seeds: FloatArray  # seeds of each point, shape (K,)
    seeds: tuple[int, ...]  # S seeds, those of all arms of the country
    users: tuple[Hashable, ...]  # U of them
    pairs: FloatArray  # pairs of each user, shape (U,)
    correct: FloatArray  # pairs ordered right, shape (K, S, U); NaN where a budget lacks a seed
    accuracy: FloatArray  # mean over seeds, shape (K,)


def curve_lines(points: Sequence[CurvePoint]) -> list[CurveLine]:
    """Return a line for each country and arm, in the order of the points."""
    seeds: dict[str, set[int]] = defaultdict(set)
    lines: dict[tuple[str, str], list[CurvePoint]] = defaultdict(list)
    for point in points:
        lines[point.country, point.arm].append(point)
        if point.seed is not None:
            seeds[point.country].add(point.seed)
    return [_line(of_line, sorted(seeds[country])) for (country, _), of_line in lines.items()]


def resample_line(
    line: CurveLine, *, num_resamples: int = NUM_REFITS, seed: int = 0
) -> FloatArray:
    """Return the line's accuracies in each resample, shape (R, K).

    One `seed` gives lines of the same users and seeds the same resamples.
    """
    known = np.isfinite(line.correct).any(axis=2)
    sums = np.nan_to_num(line.correct).reshape(-1, len(line.pairs))
    drawn = resample_sums(np.vstack([sums, line.pairs]), num_resamples=num_resamples, seed=seed)
    each = (drawn[:, :-1] / drawn[:, -1:]).reshape(num_resamples, *known.shape)
    num_known = known.sum(axis=1)
    mean = (each * known).sum(axis=2) / num_known
    widening = np.sqrt(num_known / np.maximum(num_known - 1, 1))[:, None]
    apart = (each - mean[:, :, None]) * known * widening
    num_seeds = len(line.seeds)
    rng = np.random.default_rng([seed, num_seeds])
    counts = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=num_resamples)
    in_point = np.maximum(counts @ known.T, 1)  # no seed of the point drawn: its mean stands
    drawn_lines: FloatArray = mean + np.einsum("rks,rs->rk", apart, counts) / in_point
    return drawn_lines


def _line(points: list[CurvePoint], seeds: list[int]) -> CurveLine:
    means = sorted((p for p in points if p.seed is None), key=lambda point: point.budget)
    budgets = [point.budget for point in means]
    first = means[0].by_user
    correct = np.full((len(means), len(seeds), len(first.users)), np.nan)
    for point in points:
        if point.seed is not None:
            correct[budgets.index(point.budget), seeds.index(point.seed)] = point.by_user.correct
    return CurveLine(
        country=means[0].country,
        arm=means[0].arm,
        budgets=tuple(budgets),
        trained=np.array([point.pairs_trained for point in means]),
        labelled=np.array([point.pairs_labelled for point in means]),
        num_seeds=np.array([float(point.num_seeds) for point in means]),
        seeds=tuple(seeds),
        users=first.users,
        pairs=np.array(first.pairs),
        correct=correct,
        accuracy=np.array([point.accuracy.value for point in means]),
    )
