"""Flat token arrays: many texts in one array, and which of their tokens fit the budget.

In come whole texts whose tokens each have a side (prompt, response, special), out come the
positions to keep. Special tokens and those of a chat template always stay. Everything is numpy;
no Python loop runs over tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from scpo.arrays import IntArray
from scpo.choices import Overlong

SPECIAL, PROMPT, RESPONSE = -1, 0, 1
CHUNK_TEXTS = 1024  # texts tokenised at once
SIDE_ORDER = np.array([SPECIAL, PROMPT, SPECIAL, RESPONSE, SPECIAL], dtype=np.int8)


@dataclass(frozen=True)
class WholeTexts:
    """U texts before they are cut, N tokens in all.

    Attributes:
        ids: Token ids, int32, shape (N,).
        types: Token types, int8, shape (N,).
        sides: SPECIAL, PROMPT or RESPONSE of each token, int8, shape (N,).
        offsets: Where each text starts, and N at the end, shape (U + 1,).
        lengths: Tokens of each text before turns were left out, shape (U,).
    """

    ids: NDArray[np.int32]
    types: NDArray[np.int8]
    sides: NDArray[np.int8]
    offsets: IntArray
    lengths: IntArray


def flatten_tokens(lists: Sequence[Sequence[int]]) -> tuple[NDArray[np.int32], IntArray]:
    """Return the token ids of U texts in one array, and their U + 1 offsets."""
    offsets = offsets_of(np.fromiter(map(len, lists), dtype=np.int64, count=len(lists)))
    ids = np.fromiter(chain.from_iterable(lists), dtype=np.int32, count=int(offsets[-1]))
    return ids, offsets


def offsets_of(lengths: IntArray) -> IntArray:
    """Return where each of U ranges starts when laid end to end, and the end, (U + 1,)."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def range_positions(starts: IntArray, lengths: IntArray) -> IntArray:
    """Return the positions of many ranges [start, start + length), end to end."""
    offsets = offsets_of(lengths)
    return np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])


def positions_within(
    sides: NDArray[np.int8],
    offsets: IntArray,
    *,
    max_tokens: int,
    overlong: Overlong = "truncate_prompt",
) -> IntArray:
    """Return the positions, in order, to keep so that at most `max_tokens` of each text remain.

    Special tokens always stay. The prompt loses its left first; then the response loses its right
    end, or under "truncate_left" its left. "drop" cuts as "truncate_prompt" does; whoever builds
    pairs drops them. `sides` and `offsets` are as of `WholeTexts`.
    """
    lengths = np.diff(offsets)
    excess = np.maximum(lengths - max_tokens, 0)
    if not excess.any():
        return np.arange(len(sides), dtype=np.int64)
    text = np.repeat(np.arange(len(lengths)), lengths)
    is_prompt, is_response = sides == PROMPT, sides == RESPONSE
    prompt_rank, num_prompt = _ranks(is_prompt, text, len(lengths))
    response_rank, num_response = _ranks(is_response, text, len(lengths))
    prompt_cut = np.minimum(excess, num_prompt)
    response_cut = np.minimum(excess - prompt_cut, num_response)
    cut = is_prompt & (prompt_rank < prompt_cut[text])
    if overlong == "truncate_left":
        cut |= is_response & (response_rank < response_cut[text])
    else:
        cut |= is_response & (response_rank >= (num_response - response_cut)[text])
    return np.flatnonzero(~cut)


def _ranks(wanted: NDArray[np.bool_], text: IntArray, num_texts: int) -> tuple[IntArray, IntArray]:
    """Return how many wanted tokens of its text precede each token, and each text's count."""
    counts = np.bincount(text[wanted], minlength=num_texts)
    before: IntArray = np.cumsum(wanted) - wanted
    return before - offsets_of(counts)[text], counts
