"""Pairs of an interactions table, as arrays of utterance numbers.

An utterance is one response of one interaction; utterances are numbered through the table in
order. Every two responses of an interaction with different scores give one pair, the higher
scored is chosen, equal scores give none; rows with `comparisons` give exactly those. No Python
loop runs over pairs: interactions are grouped by their number of responses K.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

IntArray: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """P pairs over U utterances of N interactions, sorted by interaction.

    Attributes:
        chosen: Utterance number of y+, shape (P,).
        rejected: Utterance number of y-, shape (P,).
        interaction: Row of the interactions table, shape (P,).
    """

    chosen: IntArray
    rejected: IntArray
    interaction: IntArray

    def __len__(self) -> int:
        return len(self.chosen)

    def take(self, which: NDArray[np.bool_] | IntArray) -> "Pairs":
        """Return the pairs that a mask or an index array names, in its order."""
        return Pairs(self.chosen[which], self.rejected[which], self.interaction[which])


def response_counts(table: pa.Table) -> IntArray:
    """Return K, the number of responses of each interaction, shape (N,)."""
    return np.asarray(pc.list_value_length(table["responses"]), dtype=np.int64)


def utterance_interactions(table: pa.Table) -> IntArray:
    """Return the interaction (row) of each utterance, shape (U,)."""
    counts = response_counts(table)
    return np.repeat(np.arange(len(counts), dtype=np.int64), counts)


def build_pairs(table: pa.Table) -> Pairs:
    """Return every pair of an interactions table.

    Raises:
        ValueError: A row's scores and responses differ in number, a score is not finite, or a
            comparison is not a pair of numbers inside its interaction.
    """
    counts = response_counts(table)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    compared = _compared_pairs(table, counts)
    scored = _scored_pairs(table, counts, ~np.isin(np.arange(len(counts)), compared[0]))
    row = np.concatenate([compared[0], scored[0]])
    chosen = np.concatenate([compared[1], scored[1]])
    rejected = np.concatenate([compared[2], scored[2]])
    order = np.argsort(row, kind="stable")
    row = row[order]
    return Pairs(starts[row] + chosen[order], starts[row] + rejected[order], row)


def _scored_pairs(
    table: pa.Table, counts: IntArray, wanted: NDArray[np.bool_]
) -> tuple[IntArray, IntArray, IntArray]:
    """Return (row, chosen position, rejected position) from the scores of the wanted rows."""
    column = table["scores"]
    num_scores = np.asarray(pc.fill_null(pc.list_value_length(column), 0), dtype=np.int64)
    has_scores = wanted & (num_scores > 0)
    if np.any(has_scores & (num_scores != counts)):
        bad = int(np.flatnonzero(has_scores & (num_scores != counts))[0])
        raise ValueError(
            f"Interaction {table['interaction_id'][bad].as_py()} has {counts[bad]} responses "
            f"but {num_scores[bad]} scores."
        )
    flat = np.asarray(pc.list_flatten(column), dtype=np.float64)
    starts = np.concatenate([[0], np.cumsum(num_scores)[:-1]])
    rows, chosen, rejected = [], [], []
    for size in np.unique(num_scores[has_scores]):
        group = np.flatnonzero(num_scores == size)
        scores = flat[starts[group][:, None] + np.arange(size)]
        if not np.all(np.isfinite(scores)):  # NaN is unequal to all: it would make pairs
            bad = int(group[np.flatnonzero(~np.isfinite(scores).all(axis=1))[0]])
            raise ValueError(
                f"Interaction {table['interaction_id'][bad].as_py()} has a score that is missing "
                "or not finite. Drop the response or the row."
            )
        first, second = np.triu_indices(size, k=1)
        difference = scores[:, first] - scores[:, second]
        which, pair = np.nonzero(difference)
        wins = difference[which, pair] > 0
        rows.append(group[which])
        chosen.append(np.where(wins, first[pair], second[pair]))
        rejected.append(np.where(wins, second[pair], first[pair]))
    return _join(rows), _join(chosen), _join(rejected)


def _compared_pairs(table: pa.Table, counts: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return (row, chosen position, rejected position) from explicit comparisons."""
    column = table["comparisons"]
    sizes = np.asarray(pc.fill_null(pc.list_value_length(column), 0), dtype=np.int64)
    row = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    lengths = np.asarray(
        pc.fill_null(pc.list_value_length(pc.list_flatten(column)), 0), dtype=np.int64
    )
    if np.any(lengths != 2):
        bad = int(row[np.flatnonzero(lengths != 2)[0]])
        raise ValueError(
            f"Interaction {table['interaction_id'][bad].as_py()} has a comparison of "
            f"{int(lengths[lengths != 2][0])} numbers; it must be [chosen, rejected]."
        )
    flat = pc.list_flatten(pc.list_flatten(column))
    positions = np.asarray(pc.fill_null(flat, -1), dtype=np.int64).reshape(-1, 2)
    outside = (positions < 0) | (positions >= counts[row][:, None])
    if outside.any():
        bad = int(row[np.flatnonzero(outside.any(axis=1))[0]])
        raise ValueError(
            f"Interaction {table['interaction_id'][bad].as_py()} has {counts[bad]} responses "
            "but a comparison that points outside them."
        )
    return row, positions[:, 0], positions[:, 1]


def _join(parts: list[IntArray]) -> IntArray:
    """Concatenate, also nothing."""
    return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, dtype=np.int64)
