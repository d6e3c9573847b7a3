"""Whole interactions as batches: each response encoded once, lengths bucketed.

A step takes interactions until it has about `pairs_per_step` pairs; interactions of like length
are put together within a shuffled window, and the steps are shuffled again, so lengths are
bucketed while the order stays random. A step's texts are cut into forward passes of texts of
nearly one length. The same seed gives the same steps on every rank.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scpo.arrays import BoolArray, FloatArray, IntArray
from scpo.tokens.encoding import TokenizedTexts
from scpo.tokens.flat_tokens import range_positions

WINDOW_STEPS = 16
LENGTH_SLACK = 0.85  # a forward pass holds texts down to this share of its longest


class _Interactions(NamedTuple):
    """The I interactions of P pairs."""

    is_first: BoolArray  # whether a pair is the first of its interaction, shape (P,)
    number: IntArray  # which interaction a pair is of, shape (P,)
    starts: IntArray  # number of the first pair, shape (I,)
    counts: IntArray  # of pairs, shape (I,)
    tokens: IntArray  # of all pairs together, shape (I,)


@dataclass(frozen=True)
class TrainingSet:
    """P weighted pairs over U tokenised texts.

    Attributes:
        texts: The texts, U of them.
        chosen: Text number of y+, shape (P,).
        rejected: Text number of y-, shape (P,).
        interaction: Any number that tells interactions apart, shape (P,), ascending.
        weights: Weight of each pair, shape (P,).
        margins: Margin that each pair's reward difference is to exceed, shape (P,); None for 0.
        reference: Reward of each text by the model that training continues, shape (U,); None
            where it has a new head.
        country: Whose pairs these are, for messages.
        pair_ids: A name for each pair, for messages, shape (P,).
        facts: Of `scpo.models.folder.contract.ModelFacts`, for the model that comes out.
    """

    texts: TokenizedTexts
    chosen: IntArray
    rejected: IntArray
    interaction: IntArray
    weights: FloatArray
    margins: FloatArray | None = None
    reference: FloatArray | None = None
    country: str = ""
    pair_ids: NDArray[np.str_] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def interactions(self) -> _Interactions:
        """Return where the pairs of each interaction lie, computed once."""
        is_first = np.append(True, np.diff(self.interaction) > 0)
        starts = np.flatnonzero(is_first)
        lengths = self.texts.lengths
        tokens = np.add.reduceat(lengths[self.chosen] + lengths[self.rejected], starts)
        counts = np.diff(np.append(starts, len(self.chosen)))
        return _Interactions(is_first, np.cumsum(is_first) - 1, starts, counts, tokens)

    def names(self, pairs: IntArray) -> str:
        """Return the names of some pairs for a message, at most eight."""
        ids = pairs.astype(np.str_) if self.pair_ids is None else self.pair_ids[pairs]
        more = f" and {len(pairs) - 8} more" if len(pairs) > 8 else ""
        return ", ".join(ids[:8].tolist()) + more

    def __post_init__(self) -> None:
        if len(self.chosen) == 0:
            raise ValueError("At least one pair must be given to train on, but got none.")
        columns = {
            name: len(column)
            for name in ("chosen", "rejected", "interaction", "weights", "margins", "pair_ids")
            if (column := getattr(self, name)) is not None
        }
        if len(set(columns.values())) != 1:
            raise ValueError(f"The columns of pairs must have one length, but got {columns}.")
        if self.reference is not None and len(self.reference) != len(self.texts):
            raise ValueError(
                f"reference must have one reward a text, but got {len(self.reference)} for "
                f"{len(self.texts)} texts."
            )
        if not (np.all(np.isfinite(self.weights)) and np.all(self.weights >= 0)):
            raise ValueError(f"{self.country or 'Pairs'}: weights must be finite and >= 0.")
        if self.margins is not None and not np.all(np.isfinite(self.margins)):
            raise ValueError(f"{self.country or 'Pairs'}: margins must be finite.")
        if np.any(np.diff(self.interaction) < 0):
            raise ValueError("Pairs must be sorted by interaction, but they are not.")


def plan_steps(
    data: TrainingSet, *, pairs_per_step: int, num_steps: int, seed: int
) -> list[IntArray]:
    """Return the pair numbers of each of `num_steps` steps, epoch after epoch.

    An interaction is never split, so a step may hold fewer or more pairs than `pairs_per_step`, of
    one interaction at least. `seed` is that of the order.

    Raises:
        ValueError: `pairs_per_step >= 1` or `num_steps >= 1` does not hold.
    """
    if pairs_per_step < 1 or num_steps < 1:
        raise ValueError(
            "`pairs_per_step >= 1` and `num_steps >= 1` must hold, "
            f"but got {pairs_per_step} and {num_steps}."
        )
    rng = np.random.default_rng(seed)
    steps: list[IntArray] = []
    while len(steps) < num_steps:
        steps += plan_epoch(data, pairs_per_step=pairs_per_step, rng=rng)
    return steps[:num_steps]


def plan_epoch(
    data: TrainingSet, *, pairs_per_step: int, rng: np.random.Generator
) -> list[IntArray]:
    """Return the pair numbers of each step of one pass over all interactions."""
    starts, counts = data.interactions.starts, data.interactions.counts
    lengths = data.texts.lengths
    longest = np.maximum(lengths[data.chosen], lengths[data.rejected])
    size = np.maximum.reduceat(longest, starts)
    order = rng.permutation(len(starts))
    window = max(1, round(WINDOW_STEPS * pairs_per_step / counts.mean()))
    order = order[np.lexsort((size[order], np.arange(len(order)) // window))]
    edges = _cut_steps(counts[order], pairs_per_step, window)
    ends = np.cumsum(counts[order])[np.array(edges) - 1]
    steps = np.split(range_positions(starts[order], counts[order]), ends[:-1])
    return [steps[number] for number in rng.permutation(len(steps))]


def shard_step(data: TrainingSet, step: IntArray, *, shard: int, num_shards: int) -> IntArray:
    """Return one shard's pairs of a step: whole interactions, dealt in turn, longest first.

    A shard is what one rank computes at once; like lengths keep the ranks equally busy. `step`
    holds whole interactions, as a step of `plan_steps` does.
    """
    table = data.interactions
    first = step.take(np.flatnonzero(table.is_first.take(step)))
    number = table.number.take(first)  # of each interaction of the step
    places = np.arange(shard, len(number), num_shards)  # where the longest comes first
    length_order = np.argpartition(number - table.tokens[number] * len(table.tokens), places)
    mine = number[np.sort(length_order[places])]  # in the order of the step
    return range_positions(table.starts[mine], table.counts[mine])


def texts_of_step(data: TrainingSet, step: IntArray) -> IntArray:
    """Return the distinct texts of some pairs, longest first; text 0 when there are no pairs."""
    if len(step) == 0:
        return np.zeros(1, dtype=np.int64)
    which = np.unique(np.concatenate([data.chosen[step], data.rejected[step]]))
    return which[np.argsort(-data.texts.lengths[which], kind="stable")]


def cut_forwards(
    which: IntArray, lengths: IntArray, *, max_tokens: int, min_tokens: int = 0
) -> list[IntArray]:
    """Cut texts, numbers `which` longest first and at least one, into passes of nearly one length.

    `lengths` are those of every text, in tokens. A forward pass has at most `max_tokens` padded
    tokens, but a single longer text gets its own; one with fewer than `min_tokens` takes in
    shorter texts too.
    """
    forwards: list[IntArray] = []
    start = 0
    for stop in range(1, len(which) + 1):
        longest = lengths[which[start]]
        ends = stop == len(which) or (
            (
                lengths[which[stop]] < LENGTH_SLACK * longest
                and (stop - start) * longest >= min_tokens
            )
            or (stop + 1 - start) * longest > max_tokens
        )
        if ends:
            forwards.append(which[start:stop])
            start = stop
    return forwards


def _cut_steps(counts: IntArray, pairs_per_step: int, window: int) -> list[int]:
    """Return where steps of about `pairs_per_step` pairs end, none across two windows."""
    edges = []
    held = 0
    for number, count in enumerate(counts.tolist()):
        if held and (number % window == 0 or held + count > pairs_per_step):
            edges.append(number)
            held = 0
        held += count
    return [*edges, len(counts)]
