"""A million interactions on one core: pairs, reference margins, selection, weights and batches.

Each interaction has four responses with scores from 1 to 100, so there are nearly six million
pairs. Timed are, one after the other, the pairs of the table, their margins under random
rewards, what the arm `scpo` and a point of the search space select, the effective pairs of both,
and one epoch's batches. The table is made without a Python loop over its rows; that is not timed,
but its memory counts in the peak, which is that of the whole process with every import. The
ratio is to a plain loop over the pairs of the first 50,000 interactions, in pairs per second,
from the table to the effective pairs of the arm; both by CPU time, for machines that are shared.
"""

import argparse
import math
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa
import torch
from figures import figure_line, machine, ratio_line, spread

from scpo.arrays import FloatArray
from scpo.countries.country_data import pair_margins
from scpo.data.interactions import INTERACTIONS_SCHEMA
from scpo.data.pairs import Pairs, build_pairs
from scpo.method.arms import Selection, select_arm, select_setting
from scpo.method.weighting import PAPER_BETA, PAPER_TAU, effective_pairs
from scpo.tokens.batches import TrainingSet, plan_epoch
from scpo.tokens.encoding import TokenizedTexts

NUM_INTERACTIONS = 1_000_000
NUM_LOOPED = 50_000
NUM_RESPONSES = 4
NUM_COUNTRIES = 8
INTERACTIONS_PER_USER = 6
PAIRS_PER_STEP = 64
BYTES_PER_GIB = 2**30
BYTES_PER_RSS_UNIT = 1024  # Linux counts ru_maxrss in KiB

Result = TypeVar("Result")


def make_table(num_interactions: int, seed: int) -> pa.Table:
    """Return synthetic interactions with short texts; the same arguments give the same ones."""
    generator = np.random.default_rng(seed)
    row = np.arange(num_interactions)
    num_utterances = num_interactions * NUM_RESPONSES
    starts = pa.array(np.arange(0, num_utterances + 1, NUM_RESPONSES, dtype=np.int32))
    scores = generator.integers(1, 101, size=num_utterances).astype(np.float64)
    responses = _take_names("response of a few words", generator.integers(1000, size=len(scores)))
    columns = {
        "interaction_id": pa.array(row).cast(pa.string()),
        "user_id": _take_names("user", row // INTERACTIONS_PER_USER),
        "country": _take_names("country", row * NUM_COUNTRIES // num_interactions),
        "prompt": _take_names("question", generator.integers(500, size=num_interactions)),
        "responses": pa.ListArray.from_arrays(starts, responses),
        "scores": pa.ListArray.from_arrays(starts, pa.array(scores)),
        "turn": pa.array(np.zeros(num_interactions, dtype=np.int32)),
    }
    return pa.Table.from_arrays(
        [
            columns.get(field.name, pa.nulls(num_interactions, field.type))
            for field in INTERACTIONS_SCHEMA
        ],
        schema=INTERACTIONS_SCHEMA,
    )


def make_texts(num_texts: int, seed: int) -> TokenizedTexts:
    """Return texts of 4 to 12 tokens, all of them token 0."""
    lengths = np.random.default_rng(seed).integers(4, 13, size=num_texts)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return TokenizedTexts(
        np.zeros(offsets[-1], dtype=np.int32),
        np.zeros(offsets[-1], dtype=np.int8),
        offsets,
        np.zeros(num_texts, dtype=np.bool_),
    )


def loop_over_pairs(table: pa.Table, rewards: FloatArray) -> tuple[int, float]:
    """Return the number of pairs and effective pairs; a plain loop makes all columns."""
    reward = rewards.tolist()
    chosen, rejected, interaction, margins = [], [], [], []
    first = 0
    for row, scores in enumerate(table["scores"].to_pylist()):
        for a in range(len(scores)):
            for b in range(len(scores)):
                if scores[a] > scores[b]:
                    chosen.append(first + a)
                    rejected.append(first + b)
                    interaction.append(row)
                    margins.append(reward[first + a] - reward[first + b])
        first += len(scores)
    keep = [1 / (1 + math.exp(-margin)) < PAPER_TAU for margin in margins]
    weights = [
        math.exp(min(margin, 0.0) / PAPER_BETA) if kept else 0.0
        for margin, kept in zip(margins, keep, strict=True)
    ]
    return len(chosen), sum(weights) ** 2 / sum(weight**2 for weight in weights)


@dataclass(frozen=True)
class Weighed:
    """Pairs of a table, and what the arm `scpo` makes of them."""

    pairs: Pairs
    margin: FloatArray
    arm: Selection
    effective: float


def weigh_pairs(table: pa.Table, rewards: FloatArray, seconds: dict[str, float]) -> Weighed:
    """Return pairs, margins, mask, weights and effective pairs; `seconds` gets a time a part."""
    pairs = _timed("pairs_s", seconds, lambda: build_pairs(table))
    margin = _timed("margins_s", seconds, lambda: pair_margins(rewards, pairs))
    arm = _timed("arm_s", seconds, lambda: select_arm("scpo", margin))
    effective = _timed("effective_s", seconds, lambda: effective_pairs(arm.weights))
    return Weighed(pairs, margin, arm, effective)


def plan_batches(weighed: Weighed, texts: TokenizedTexts) -> None:
    """Plan one epoch over the pairs that the arm selected."""
    pairs, weights = weighed.pairs.take(weighed.arm.keep), weighed.arm.weights[weighed.arm.keep]
    data = TrainingSet(texts, pairs.chosen, pairs.rejected, pairs.interaction, weights)
    plan_epoch(data, pairs_per_step=PAIRS_PER_STEP, rng=np.random.default_rng(3))


def measure(rounds: int, num_interactions: int) -> list[str]:
    """Return the figures' lines, after `rounds` rounds.

    Raises:
        RuntimeError: The loop and the arrays disagree, so their times say nothing.
    """
    table = make_table(num_interactions, seed=0)
    rewards = np.random.default_rng(1).normal(size=num_interactions * NUM_RESPONSES)
    texts = make_texts(len(rewards), seed=2)
    few, few_rewards = table.slice(0, NUM_LOOPED), rewards[: NUM_LOOPED * NUM_RESPONSES]
    looped = loop_over_pairs(few, few_rewards)
    _check_agreement(looped, weigh_pairs(few, few_rewards, {}))
    rates: dict[str, list[float]] = {"pairs_per_s": [], "loop_pairs_per_s": []}
    parts: list[dict[str, float]] = []
    for _ in range(rounds):
        seconds: dict[str, float] = {}
        edges = [time.process_time()]
        loop_over_pairs(few, few_rewards)  # before and after: a core's speed drifts
        edges.append(time.process_time())
        weighed = weigh_pairs(table, rewards, seconds)
        edges.append(time.process_time())
        loop_over_pairs(few, few_rewards)
        edges.append(time.process_time())
        before_s, weigh_s, after_s = np.diff(edges).tolist()
        rates["pairs_per_s"].append(len(weighed.pairs) / weigh_s)
        rates["loop_pairs_per_s"].append(2 * looped[0] / (before_s + after_s))
        _timed("setting_s", seconds, partial(_select_setting, weighed.margin))
        _timed("plan_s", seconds, partial(plan_batches, weighed, texts))
        parts.append(seconds)
    ratios = [ours / loop for ours, loop in zip(*rates.values(), strict=True)]
    against = f"a Python loop over the pairs of {few.num_rows:,} interactions, CPU time of both"
    return [
        _seconds_line(parts, num_interactions),
        _peak_line(table, texts, num_interactions),
        ratio_line(
            "pairs, masks and weights, pairs/s, ratio to a loop",
            ratios,
            rates,
            reach=">= 5",
            against=against,
            on=machine("float64"),
        ),
    ]


def main() -> None:
    """Measure, and print a JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--interactions", type=int, default=NUM_INTERACTIONS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    for line in measure(arguments.rounds, arguments.interactions):
        print(line, flush=True)


def _take_names(kind: str, which: np.ndarray) -> pa.Array:
    """Return "KIND NUMBER" of each of the numbers."""
    names = [f"{kind} {number}" for number in range(int(which.max()) + 1)]
    return pa.array(names).take(pa.array(which))


def _timed(name: str, seconds: dict[str, float], part: Callable[[], Result]) -> Result:
    """Do one part, and note how long it took."""
    started = time.perf_counter()
    result = part()
    seconds[name] = time.perf_counter() - started
    return result


def _select_setting(margin: FloatArray) -> float:
    """Return the effective pairs of one point of the search space."""
    return effective_pairs(select_setting(margin, retention=0.7, strength=1.0).weights)


def _check_agreement(looped: tuple[int, float], ours: Weighed) -> None:
    """Refuse to compare the times of two ways whose results differ."""
    found = (len(ours.pairs), ours.effective)
    if looped[0] != found[0] or not math.isclose(looped[1], found[1], rel_tol=1e-9):
        raise RuntimeError(f"The loop found {looped} (pairs, effective), the arrays {found}.")


def _seconds_line(parts: list[dict[str, float]], num_interactions: int) -> str:
    """Return the line of the seconds of all parts, with the median of each."""
    totals = [sum(seconds.values()) for seconds in parts]
    medians = {name: statistics.median(seconds[name] for seconds in parts) for name in parts[0]}
    return figure_line(
        f"{num_interactions:,} interactions to weighted pairs and batches",
        statistics.median(totals),
        "s",
        reach="<= 20",
        against="",
        on=machine("float64"),
        detail=spread(totals) | medians,
    )


def _peak_line(table: pa.Table, texts: TokenizedTexts, num_interactions: int) -> str:
    """Return the line of the largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_RSS_UNIT
    tokens = texts.ids.nbytes + texts.types.nbytes + texts.offsets.nbytes
    return figure_line(
        f"{num_interactions:,} interactions, peak memory of the process",
        peak / BYTES_PER_GIB,
        "GiB",
        reach="<= 2",
        against="",
        on=machine("float64"),
        detail={"table_gib": table.nbytes / BYTES_PER_GIB, "texts_gib": tokens / BYTES_PER_GIB},
    )


if __name__ == "__main__":
    main()
