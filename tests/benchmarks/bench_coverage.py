"""How often an interval by user holds the truth, on synthetic worlds whose truth is known.

A world is a country of many users with linear utilities and Bradley-Terry choices: typical ones,
outliers who choose against the shared utility, and some who choose at random; a user has six
pairs an interaction and one to many interactions. The truth is the figure over all its users. Of
each world a few users are drawn several times, and each time four figures get an interval from
them alone: accuracy overall and on distinctive pairs, and the difference to the global model and
to another trained model. Compared are the plain percentile of the bootstrap by user, the widened
one that `scpo.statistics.bootstrap` uses, and the jackknife with Student's t.

Every line is the coverage of one method at one number of users, over all four figures; `detail`
has each figure. Nominal is 0.95. The reach stands on the lines of the widened percentile and the
jackknife from 12 users up; below, what is measured is told without a reach.
"""

import argparse

import numpy as np
import torch
from figures import figure_line, machine

from scpo.arrays import FloatArray
from scpo.statistics.bootstrap import (
    divide_draws,
    drawn_interval,
    jackknife_interval,
    resample_sums,
)

NUM_WORLDS = 200
NUM_SAMPLES = 5  # of users, from each world
NUM_RESAMPLES = 1000
POPULATION = 2000
NUM_FEATURES = 8
NUM_RESPONSES = 4
USERS = (5, 8, 12, 22, 60)
FEWEST_USERS = 12  # from here on the reach must hold
FIGURES = ("overall", "distinctive", "against_global", "against_other")
METHODS = ("percentile", "widened", "jackknife")

Sums = dict[str, tuple[FloatArray, FloatArray]]


def make_world(seed: int) -> Sums:
    """Return, by figure, the sum of the statistic and the pairs of each user, (POPULATION,)."""
    rng = np.random.default_rng(seed)
    shift, outliers = rng.choice([0.2, 0.4, 0.8]), rng.choice([0.1, 0.2, 0.3])
    shared, own, noise, more_noise = 0.7 * rng.normal(size=(4, NUM_FEATURES))
    country = shared + shift * own
    weights = np.stack([country, -shared, np.zeros(NUM_FEATURES)])
    kinds = rng.choice(3, POPULATION, p=[0.9 - outliers, outliers, 0.1])
    user = np.repeat(np.arange(POPULATION), 1 + rng.poisson(5, POPULATION))
    responses = rng.choice([-1, -1 / 3, 1 / 3, 1], (len(user), NUM_RESPONSES, NUM_FEATURES))
    utility = np.einsum("nkf,nf->nk", responses, weights[kinds[user]])
    utility += rng.gumbel(size=utility.shape)
    first, second = np.triu_indices(NUM_RESPONSES, 1)
    chosen = np.sign(utility[:, first] - utility[:, second])
    models = np.stack([shared, country + 0.3 * noise, country + 0.3 * more_noise])
    rewards = responses @ models.T
    margins = chosen[:, :, None] * (rewards[:, first] - rewards[:, second])
    reference, model, other = np.moveaxis(margins, 2, 0)
    right, ones = (model > 0) * 1.0, np.ones_like(model)
    distinctive = (reference < 0) * 1.0
    statistics = {
        "overall": (right, ones),
        "distinctive": (right * distinctive, distinctive),
        "against_global": (right - (reference > 0), ones),
        "against_other": (right - (other > 0), ones),
    }
    return {
        name: (_by_user(values, user), _by_user(pairs, user))
        for name, (values, pairs) in statistics.items()
    }


def is_covered(totals: FloatArray, pairs: FloatArray, truth: float, seed: int) -> list[bool]:
    """Return for each method whether its interval holds the truth."""
    drawn = resample_sums(np.stack([totals, pairs]), num_resamples=NUM_RESAMPLES, seed=seed)
    shares = divide_draws(drawn[:, 0], drawn[:, 1])
    users = int(np.count_nonzero(pairs))
    intervals = (
        np.nanquantile(shares, [0.025, 0.975]),
        *(
            (found.low, found.high)
            for found in (drawn_interval(0.0, shares, users), jackknife_interval(totals, pairs))
        ),
    )
    return [
        low is not None and high is not None and low - 1e-12 <= truth <= high + 1e-12
        for low, high in intervals
    ]


def measure(num_worlds: int, num_samples: int) -> list[str]:
    """Return a line for each method and number of users."""
    covered = np.zeros((len(USERS), len(FIGURES), len(METHODS)))
    for number in range(num_worlds):
        world = make_world(number)
        rng = np.random.default_rng([1, number])
        for row, num_users in enumerate(USERS):
            for sample in range(num_samples):
                which = rng.choice(POPULATION, num_users, replace=False)
                for column, (totals, pairs) in enumerate(world.values()):
                    truth = float(totals.sum() / pairs.sum())
                    covered[row, column] += is_covered(
                        totals[which], pairs[which], truth, seed=number * num_samples + sample
                    )
    covered /= num_worlds * num_samples
    return [
        line
        for row, num_users in enumerate(USERS)
        for column, method in enumerate(METHODS)
        for line in _lines(num_users, method, covered[row, :, column], num_worlds, num_samples)
    ]


def main() -> None:
    """Measure, and print a JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=NUM_WORLDS)
    parser.add_argument("--samples", type=int, default=NUM_SAMPLES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for line in measure(arguments.worlds, arguments.samples):
        print(line, flush=True)


def _by_user(values: FloatArray, user: np.ndarray) -> FloatArray:
    """Return the sum over each user's pairs; `values` is (interactions, pairs)."""
    return np.bincount(user, weights=values.sum(axis=1), minlength=POPULATION)


def _lines(
    num_users: int, method: str, covered: FloatArray, num_worlds: int, num_samples: int
) -> list[str]:
    """Return the lines of one method at one number of users: coverage, and its upper bound."""
    must_hold = method != "percentile" and num_users >= FEWEST_USERS
    detail = dict(zip(FIGURES, covered.tolist(), strict=True))
    reaches = (">= 0.92", "<= 0.97") if must_hold else (">= 0",)
    return [
        figure_line(
            f"coverage of 95 % intervals, {method}, {num_users} users",
            float(covered.mean()),
            "fraction",
            reach=reach,
            against=f"the truth of {num_worlds} worlds, {num_samples} samples of users of each",
            on=machine("float64"),
            detail=detail,
        )
        for reach in reaches
    ]


if __name__ == "__main__":
    main()
