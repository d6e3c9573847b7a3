"""What a rank's host spends on a step, by the number of ranks.

A rank cuts its own shard out of a step, cuts its texts into forward passes and pads these into
tensors, whatever the others do.
Every rank has as many pairs a step at each number of ranks, so a step of 512 ranks is 256 times
as large as one of two. Steps are of the same data, in an order of their own as in training.
"""

import argparse
import time

import numpy as np
import torch
from figures import machine, ratio_line

from scpo.tokens.batches import TrainingSet, shard_step
from scpo.tokens.encoding import TokenizedTexts
from scpo.training.forward_passes import BatchInputs, forward_inputs, plan_forwards

RANKS = (2, 64, 512)
PAIRS_OF_A_RANK = 48
PAIRS_OF_INTERACTION = 6  # of four responses
ROUNDS = 15


def make_set(num_pairs: int) -> TrainingSet:
    """Return interactions of four responses whose texts have lengths like PRISM's."""
    generator = np.random.default_rng(0)
    interactions = np.arange(num_pairs // PAIRS_OF_INTERACTION)
    lengths = np.clip(generator.lognormal(4.6, 0.6, 4 * len(interactions)), 20, 256).astype(int)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    texts = TokenizedTexts(
        np.ones(offsets[-1], np.int32),
        np.zeros(offsets[-1], np.int8),
        offsets,
        np.zeros(len(lengths), np.bool_),
    )
    low, high = np.triu_indices(4, 1)
    chosen = (4 * interactions[:, None] + high).ravel()
    rejected = (4 * interactions[:, None] + low).ravel()
    interaction = np.repeat(interactions, PAIRS_OF_INTERACTION)
    return TrainingSet(texts, chosen, rejected, interaction, np.ones(len(chosen)))


def plan_ms(data: TrainingSet, num_ranks: int, number: int) -> float:
    """Return milliseconds in which a rank prepares its shard of one step."""
    inputs = BatchInputs(0, with_types=True)
    ordered = np.random.default_rng(number).permutation(len(data.chosen) // PAIRS_OF_INTERACTION)
    some = ordered[: num_ranks * PAIRS_OF_A_RANK // PAIRS_OF_INTERACTION, None]
    step = (PAIRS_OF_INTERACTION * some + np.arange(PAIRS_OF_INTERACTION)).ravel()
    rank = number % num_ranks
    started = time.perf_counter()
    shard = shard_step(data, step, shard=rank, num_shards=num_ranks)
    for forward in plan_forwards(data, shard, inputs, max_tokens=8192):
        forward_inputs(data.texts, forward, inputs, torch.device("cpu"))
    return 1000 * (time.perf_counter() - started)


def main() -> None:
    """Measure and print the lines."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    data = make_set(max(RANKS) * PAIRS_OF_A_RANK)
    assert data.interactions.starts.size  # computed once a training
    times: dict[int, list[float]] = {ranks: [] for ranks in RANKS}
    for number in range(ROUNDS):
        for ranks in RANKS:
            times[ranks].append(plan_ms(data, ranks, number))
    few = RANKS[0]
    for ranks in RANKS[1:]:
        print(
            ratio_line(
                f"preparing a step by one of {ranks} ranks",
                [more / less for more, less in zip(times[ranks], times[few], strict=True)],
                {f"ms_{ranks}": times[ranks], f"ms_{few}": times[few]},
                reach="<= 1.5",
                against=f"by one of {few}, with as many pairs a rank",
                on=machine("no model"),
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
