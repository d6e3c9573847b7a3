"""Heads of the probe: settings times countries per second, against a loop over single heads.

Six made-up countries of 1000 training pairs on 384 features, four responses an interaction, and
1000 settings each: selection, training and judging are timed, features are not. The loop trains
some of the same heads one after the other by scipy's L-BFGS in float64, to the same loss with as
many iterations as the batch has steps; its rate is measured in turn with the batch, so that a
busy machine slows both.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from figures import figure_line, machine, ratio_line, spread
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from scpo.heads.linear_heads import ProbedPairs
from scpo.method.arms import select_setting
from sweeps.config import SearchConfig
from sweeps.probe.head_settings import HeadSettings, draw_settings
from sweeps.probe.probe import probe_pair_sets

NUM_COUNTRIES = 6
NUM_SETTINGS = 1000
NUM_FEATURES = 384
NUM_PAIRS = 1000
NUM_VALIDATION = 200
LOOP_HEADS = 12  # of each country, in the loop


def make_country(seed: int) -> tuple[ProbedPairs, ProbedPairs]:
    """Return training and validation pairs of a country whose taste is near the global one."""
    generator = np.random.default_rng(seed)
    first, second = np.triu_indices(4, 1)
    num_pairs = NUM_PAIRS + NUM_VALIDATION
    scales = np.logspace(0, -1.5, NUM_FEATURES)
    texts = generator.normal(size=(num_pairs // len(first) + 1, 4, NUM_FEATURES)) * scales
    pairs = (texts[:, first] - texts[:, second]).reshape(-1, NUM_FEATURES)[:num_pairs]
    head = 0.3 * generator.normal(size=NUM_FEATURES)
    taste = pairs @ (head + 0.2 * generator.normal(size=NUM_FEATURES))
    pairs *= np.sign(taste + generator.logistic(size=num_pairs))[:, None]
    differences = pairs.astype(np.float32)
    offset = differences @ head
    made = ProbedPairs(differences, offset, offset, np.arange(len(offset)) // 6)
    return made.take(np.arange(NUM_PAIRS)), made.take(np.arange(NUM_PAIRS, num_pairs))


def probe_all(countries: list[tuple[ProbedPairs, ProbedPairs]], settings: HeadSettings) -> None:
    """Probe each country as `scpo probe` does once its features are known."""
    for number, (train, validation) in enumerate(countries):
        search = SearchConfig(max_consensus_drop=1.0)
        probe_pair_sets(f"country {number}", train, validation, settings, search)


def train_one(train: ProbedPairs, settings: HeadSettings, number: int) -> None:
    """Train the head of one setting."""
    selection = select_setting(
        train.reference_margin,
        retention=float(settings.retention[number]),
        strength=float(settings.strength[number]),
    )
    x = train.differences[selection.keep].astype(np.float64)
    offset, share = train.offset[selection.keep], selection.weights[selection.keep] / len(x)
    curvature = np.square(train.differences).sum() / (4 * len(train.offset))
    pull = float(settings.l2[number]) * float(curvature)

    def loss(moved: np.ndarray) -> tuple[float, np.ndarray]:
        margin = offset + x @ moved
        value = -share @ log_expit(margin) + 0.5 * pull * moved @ moved
        return float(value), pull * moved - (share * expit(-margin)) @ x

    options = {"maxiter": int(settings.steps[number])}
    minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options=options)


def main() -> None:
    """Measure, and print a JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    countries = [make_country(seed) for seed in range(NUM_COUNTRIES)]
    settings = draw_settings(
        NUM_SETTINGS,
        retention=(0.2, 1.0),
        strength=(0.0, 3.0),
        l2=(1e-4, 10.0),
        steps=(2, 24),
        seed=0,
    )
    seconds: list[float] = []
    rates: dict[str, list[float]] = {"heads_per_s": [], "loop_heads_per_s": []}
    for _ in range(arguments.rounds):
        started = time.perf_counter()
        probe_all(countries, settings)
        seconds.append(time.perf_counter() - started)
        rates["heads_per_s"].append(NUM_COUNTRIES * NUM_SETTINGS / seconds[-1])
        started = time.perf_counter()
        for train, _ in countries:
            for number in range(LOOP_HEADS):
                train_one(train, settings, number)
        loop = time.perf_counter() - started
        rates["loop_heads_per_s"].append(NUM_COUNTRIES * LOOP_HEADS / loop)
    pairs = zip(rates["heads_per_s"], rates["loop_heads_per_s"], strict=True)
    print(
        ratio_line(
            "probe heads/s, ratio to a loop",
            [ours / theirs for ours, theirs in pairs],
            rates,
            reach=">= 3",
            against="single heads by L-BFGS in a loop",
            on=machine("fp32"),
        )
    )
    print(
        figure_line(
            "probe of 1000 settings x 6 countries",
            statistics.median(seconds),
            "s",
            reach="<= 6",
            against="",
            on=machine("fp32"),
            detail=spread(seconds),
        )
    )


if __name__ == "__main__":
    main()
