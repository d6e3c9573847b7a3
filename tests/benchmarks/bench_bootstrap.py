"""Intervals by user of six countries and nine arms, with ten thousand resamples each.

Every country has 80 users with 5 to 75 pairs, as a PRISM country judged by k folds has. Timed is
`layer_accuracies`, from margins to the intervals of three layers, and `paired_differences`
against one arm. The ratio is to the loop that one writes first: for every arm and layer, and for
every resample, go through the users drawn and add up their right pairs and their pairs, which
were counted before. The loop runs on few resamples, its time is scaled to all of them, and the
two must give the same ends on those few. Both are timed by CPU time, on one thread.
"""

import argparse
import time
from unittest.mock import patch

import numpy as np
import torch
from figures import figure_line, machine, ratio_line, spread

from scpo.arrays import FloatArray
from scpo.statistics import bootstrap
from scpo.statistics.accuracy import LAYERS, layer_accuracies
from scpo.statistics.bootstrap import NUM_RESAMPLES, widened_tail
from scpo.statistics.paired import paired_differences

NUM_COUNTRIES = 6
NUM_ARMS = 9
NUM_USERS = 80
FEWEST_PAIRS, MOST_PAIRS = 5, 75
NUM_LOOPED = 40

Country = tuple[dict[str, FloatArray], FloatArray, np.ndarray]


def make_country(seed: int) -> Country:
    """Return margins by arm, the reference margins and the user of each pair."""
    rng = np.random.default_rng(seed)
    user = np.repeat(
        np.arange(NUM_USERS), rng.integers(FEWEST_PAIRS, MOST_PAIRS + 1, size=NUM_USERS)
    )
    taste = rng.normal(0.3, 0.4, size=NUM_USERS)[user]
    reference = taste + rng.normal(size=len(user))
    margins = {
        f"arm {number}": reference + rng.normal(scale=0.3, size=len(user))
        for number in range(NUM_ARMS)
    }
    return margins, reference, user


def our_intervals(country: Country) -> list[tuple[float, float]]:
    """Return the ends of each arm and layer."""
    margins, reference, user = country
    found = layer_accuracies(margins, reference, user)
    return [
        (float(each.interval.low), float(each.interval.high))  # type: ignore[arg-type]  # 80 users
        for layers in found.values()
        for each in layers.values()
    ]


def looped_intervals(country: Country, num_resamples: int) -> list[tuple[float, float]]:
    """Return the same by a loop over arms, layers, resamples and users."""
    margins, reference, user = country
    inside = dict(
        zip(LAYERS, (np.ones_like(user, dtype=bool), reference < 0, reference >= 0), strict=True)
    )
    ends = []
    for margin in margins.values():
        for which in inside.values():
            right = np.bincount(user, weights=(margin > 0) & which).tolist()
            pairs = np.bincount(user, weights=which).tolist()
            users = [number for number in np.lexsort((right, pairs)).tolist() if pairs[number]]
            rng = np.random.default_rng(0)
            shares = []
            for drawn in rng.integers(len(users), size=(num_resamples, len(users))).tolist():
                right_sum, pair_sum = 0.0, 0.0
                for number in drawn:
                    right_sum += right[users[number]]
                    pair_sum += pairs[users[number]]
                shares.append(right_sum / pair_sum)
            tail = widened_tail(len(users))
            low, high = np.quantile(shares, [tail, 1 - tail])
            ends.append((float(low), float(high)))
    return ends


def measure(rounds: int) -> list[str]:
    """Return the figures' lines, after `rounds` rounds.

    Raises:
        RuntimeError: The loop and the arrays disagree, so their times say nothing.
    """
    countries = [make_country(seed) for seed in range(NUM_COUNTRIES)]
    with patch.object(bootstrap, "NUM_RESAMPLES", 25):
        gap = max(
            float(np.abs(np.subtract(our_intervals(each), looped_intervals(each, 25))).max())
            for each in countries[:2]
        )
    if not gap < 1e-12:
        raise RuntimeError(f"The loop and the arrays must agree, but ends differ by {gap}.")
    seconds: list[float] = []
    rates: dict[str, list[float]] = {"intervals_per_s": [], "loop_intervals_per_s": []}
    paired: list[float] = []
    num_intervals = NUM_COUNTRIES * NUM_ARMS * len(LAYERS)
    for _ in range(rounds):
        started, wall = time.process_time(), time.perf_counter()
        for each in countries:
            our_intervals(each)
        seconds.append(time.perf_counter() - wall)
        rates["intervals_per_s"].append(num_intervals / (time.process_time() - started))
        wall = time.perf_counter()
        for margins, _, user in countries:
            paired_differences(margins, margins["arm 0"], user)
        paired.append(time.perf_counter() - wall)
        started = time.process_time()
        looped_intervals(countries[0], NUM_LOOPED)
        spent = (time.process_time() - started) * NUM_RESAMPLES / NUM_LOOPED * NUM_COUNTRIES
        rates["loop_intervals_per_s"].append(num_intervals / spent)
    ratios = [ours / loop for ours, loop in zip(*rates.values(), strict=True)]
    what = f"{NUM_COUNTRIES} countries x {NUM_ARMS} arms, {NUM_RESAMPLES:,} resamples by user"
    return [
        figure_line(
            f"{what}: accuracy in three layers",
            float(np.median(seconds)),
            "s",
            reach="<= 10",
            against="",
            on=machine("float64"),
            detail=spread(seconds) | {"paired_differences_s": float(np.median(paired))},
        ),
        ratio_line(
            f"{what}, ratio to a loop",
            ratios,
            rates,
            reach=">= 50",
            against=f"a loop over users on {NUM_LOOPED} resamples of one country, CPU time scaled",
            on=machine("float64"),
        ),
    ]


def main() -> None:
    """Measure, and print a JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for line in measure(arguments.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
