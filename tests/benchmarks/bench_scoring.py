"""Scoring speed: each text once, sorted by length, against batches as the interactions come.

All ways score the same texts with MiniLM in one process, in turn, so that a busy machine slows all
of them; a figure is the median over rounds of the ratio of texts per second. The others are plain
transformers in float32; this project takes bf16 where the machine is fast at it.
"Batch 8" can mean three things, and each is a figure of its own: 8 interactions (their 32 texts
padded to the longest), 8 texts (padded to the longest of the 8), and 8 pairs (both texts of each,
so a text as often as pairs name it, as a scorer of pairs does). A text counts once, however
often it was scored. The first two waste hardly more than padding, which bounds their ratios.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from figures import figure_line, machine, ratio_line
from transformers.utils import logging as transformers_logging
from workload import NUM_RESPONSES, Workload, load_minilm, load_plain_minilm, make_workload

from scpo.arrays import FloatArray, IntArray
from scpo.choices import Precision
from scpo.countries.scoring import score_texts
from scpo.models.devices import resolve_precision
from scpo.models.reward_model import LoadedModel, takes_token_types
from scpo.tokens.encoding import pad_texts

INTERACTIONS_PER_ROUND = 32
BATCH = 8


def score_sorted(reward: LoadedModel, work: Workload, precision: Precision = "auto") -> FloatArray:
    """Return the reward of each text, scored once, sorted by length, as this project does."""
    return score_texts(reward, work.texts, np.arange(len(work.texts)), precision=precision)


def score_by_interaction(reward: LoadedModel, work: Workload) -> None:
    """Score each text once, the texts of 8 interactions a batch."""
    _score_batches(reward, work, _cut(work, BATCH * NUM_RESPONSES))


def score_by_text(reward: LoadedModel, work: Workload) -> None:
    """Score each text once, 8 a batch, in the order of the interactions."""
    _score_batches(reward, work, _cut(work, BATCH))


def score_by_pair(reward: LoadedModel, work: Workload) -> None:
    """Score both texts of each pair, in the order of the interactions."""
    pairs = work.pairs
    for start in range(0, len(pairs), BATCH):
        part = slice(start, start + BATCH)
        _score_batches(reward, work, [pairs.chosen[part], pairs.rejected[part]])


def measure(rounds: int) -> list[str]:
    """Return the figures' lines, after `rounds` rounds."""
    reward, plain = load_minilm(), load_plain_minilm()
    precision = resolve_precision("auto", reward.model.device)
    ways: dict[str, Callable[[LoadedModel, Workload], None]] = {
        "by_interaction": score_by_interaction,
        "by_text": score_by_text,
        "by_pair": score_by_pair,
    }
    rates: dict[str, list[float]] = {name: [] for name in ("sorted", *ways)}
    alike: list[float] = []
    score_by_interaction(plain, make_workload(reward, num_interactions=8, seed=0))
    for number in range(1, rounds + 1):
        work = make_workload(reward, num_interactions=INTERACTIONS_PER_ROUND, seed=number)
        started = time.perf_counter()
        rewards = score_sorted(reward, work)
        rates["sorted"].append(len(work.texts) / (time.perf_counter() - started))
        exact = rewards if precision == "fp32" else score_sorted(reward, work, "fp32")
        alike.append(float(np.mean((_margins(rewards, work) > 0) == (_margins(exact, work) > 0))))
        for name, way in ways.items():
            started = time.perf_counter()
            way(plain, work)
            rates[name].append(len(work.texts) / (time.perf_counter() - started))
    return [
        _line(rates, "by_interaction", "scoring unsorted, batch 8 interactions", precision),
        _line(rates, "by_text", "scoring unsorted, batch 8 texts", precision),
        _line(rates, "by_pair", "scoring unsorted, batch 8 pairs", precision),
        figure_line(
            "pairs that scoring ranks as float32 does",
            float(np.mean(alike)),
            "fraction",
            reach=">= 0.995",
            against="float32",
            on=machine(precision),
        ),
    ]


def main() -> None:
    """Measure, and print a JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers_logging.set_verbosity_error()
    for line in measure(arguments.rounds):
        print(line, flush=True)


def _cut(work: Workload, size: int) -> list[IntArray]:
    """Return the texts as they come, `size` a batch."""
    texts = np.arange(len(work.texts))
    return [texts[start : start + size] for start in range(0, len(texts), size)]


def _score_batches(reward: LoadedModel, work: Workload, batches: Sequence[IntArray]) -> None:
    """Score batches as they are, padded to their longest text."""
    with torch.inference_mode():
        for which in batches:
            inputs = pad_texts(
                work.texts,
                which,
                pad_id=reward.tokenizer.pad_token_id,
                with_types=takes_token_types(reward),
                device=reward.model.device,
            )
            reward.model(**inputs)


def _margins(rewards: FloatArray, work: Workload) -> FloatArray:
    """Return the reward difference of each pair."""
    return rewards[work.pairs.chosen] - rewards[work.pairs.rejected]


def _line(rates: dict[str, list[float]], other: str, against: str, precision: str) -> str:
    """Return the line of the ratio of sorted scoring to another way."""
    pairs = zip(rates["sorted"], rates[other], strict=True)
    return ratio_line(
        f"scoring texts/s, ratio to {other}",
        [ours / theirs for ours, theirs in pairs],
        {"texts_per_s": rates["sorted"], f"{other}_texts_per_s": rates[other]},
        reach=">= 4",
        against=against,
        on=machine(precision),
    )


if __name__ == "__main__":
    main()
