"""Pairs of an interactions table, as arrays of utterance numbers.

An utterance is one response of one interaction; utterances are numbered through the table in
order. Every two responses of an interaction with different scores give one pair, the higher
scored is chosen, equal scores give none; rows with `comparisons` give exactly those, with their
margins. No Python loop runs over pairs: interactions are taken a chunk at a time and grouped by
their number of responses K.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scpo.arrays import FloatArray, IntArray
from scpo.data.reading.fields import MAX_RESPONSES

CHUNK_ROWS = 1 << 15  # interactions turned into pairs at once: what is in between stays small


@dataclass(frozen=True)
class Pairs:
    """P pairs over U utterances of N interactions, sorted by interaction.

    `chosen` and `rejected` are the utterance numbers of y+ and y-, `interaction` the row of the
    table, each of shape (P,). `margins`, shape (P,), are what each pair's reward difference is to
    exceed, 0 for a pair given without one; None where no pair has one.
    """

    chosen: IntArray
    rejected: IntArray
    interaction: IntArray
    margins: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.chosen)

    def take(self, which: NDArray[np.bool_] | IntArray | slice) -> "Pairs":
        """Return the pairs that a mask, an index array or a slice names, in its order."""
        margins = None if self.margins is None else self.margins[which]
        return Pairs(self.chosen[which], self.rejected[which], self.interaction[which], margins)


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
        ValueError: A row has more than `MAX_RESPONSES` scores; its scores and responses differ in
            number, a score is not finite, a comparison is not a pair of numbers inside its
            interaction; or a row's margins and comparisons differ in number, or a margin is not
            finite.
    """
    most = _most_pairs(table)
    chosen, rejected, interaction = (np.empty(most, dtype=np.int64) for _ in range(3))
    given = pc.list_flatten(table["margins"])
    margins = np.zeros(most, dtype=np.float64) if given.null_count < len(given) else None
    num_pairs, num_utterances = 0, 0
    for first_row in range(0, table.num_rows, CHUNK_ROWS):
        rows = table.slice(first_row, CHUNK_ROWS)
        counts = response_counts(rows)
        starts = num_utterances + np.cumsum(counts) - counts
        row, better, worse, margin = _find_pairs(rows, counts)
        here = slice(num_pairs, num_pairs + len(row))
        np.add(starts[row], better, out=chosen[here])
        np.add(starts[row], worse, out=rejected[here])
        np.add(first_row, row, out=interaction[here])
        if margins is not None:
            margins[here] = margin
        num_pairs += len(row)
        num_utterances += int(counts.sum())
    found = slice(0, num_pairs)
    return Pairs(chosen, rejected, interaction, margins).take(found)


def _most_pairs(table: pa.Table) -> int:
    """Return the number of pairs, were there no equal scores."""
    num_compared, num_scores = _sizes(table["comparisons"]), _sizes(table["scores"])
    wide = np.flatnonzero((num_compared == 0) & (num_scores > MAX_RESPONSES))
    if len(wide):
        what = f"{num_scores[wide[0]]:,} responses, every two a pair; {MAX_RESPONSES} are the most"
        raise _fault(table, int(wide[0]), f"{what}. Keep fewer, or give `comparisons`.")
    most = np.where(num_compared > 0, num_compared, num_scores * (num_scores - 1) // 2)
    return int(most.sum())


def _find_pairs(
    table: pa.Table, counts: IntArray
) -> tuple[IntArray, IntArray, IntArray, FloatArray]:
    """Return (row, chosen position, rejected position, margin) of each pair, rows ascending."""
    compared = _compared_pairs(table, counts)
    is_scored = np.ones(len(counts), dtype=np.bool_)
    is_scored[compared[0]] = False
    scored = _scored_pairs(table, counts, is_scored)
    margins = np.concatenate([_compared_margins(table, compared[0]), np.zeros(len(scored[0]))])
    row, chosen, rejected = (_join(list(both)) for both in zip(compared, scored, strict=True))
    if np.all(row[1:] >= row[:-1]):
        return row, chosen, rejected, margins
    order = np.argsort(row, kind="stable")
    return row[order], chosen[order], rejected[order], margins[order]


def _scored_pairs(
    table: pa.Table, counts: IntArray, wanted: NDArray[np.bool_]
) -> tuple[IntArray, IntArray, IntArray]:
    """Return (row, chosen position, rejected position) from the scores of the wanted rows."""
    column = table["scores"]
    num_scores = _sizes(column)
    has_scores = wanted & (num_scores > 0)
    if np.any(has_scores & (num_scores != counts)):
        bad = int(np.flatnonzero(has_scores & (num_scores != counts))[0])
        raise _fault(table, bad, f"{counts[bad]} responses but {num_scores[bad]} scores.")
    flat = np.asarray(pc.list_flatten(column), dtype=np.float64)
    starts = np.concatenate([[0], np.cumsum(num_scores)[:-1]])
    rows, chosen, rejected = [], [], []
    for size in np.flatnonzero(np.bincount(num_scores[has_scores])).tolist():
        group = np.flatnonzero(has_scores & (num_scores == size))
        scores = flat[starts[group][:, None] + np.arange(size)]
        if not np.all(np.isfinite(scores)):  # NaN is unequal to all: it would make pairs
            bad = int(group[np.flatnonzero(~np.isfinite(scores).all(axis=1))[0]])
            what = "a score that is missing or not finite. Drop the response or the row."
            raise _fault(table, bad, what)
        first, second = np.triu_indices(size, k=1)
        left, right = scores[:, first].ravel(), scores[:, second].ravel()
        differs = left != right
        # Flat: numpy is slow where its innermost loop runs over the few pairs of a row.
        first, second = np.tile(first, len(group)), np.tile(second, len(group))
        better = np.where(left > right, first, second)
        chosen.append(better[differs])
        rejected.append((first + second - better)[differs])
        rows.append(np.repeat(group, differs.reshape(len(group), -1).sum(axis=1)))
    return _join(rows), _join(chosen), _join(rejected)


def _compared_pairs(table: pa.Table, counts: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return (row, chosen position, rejected position) from explicit comparisons."""
    column = table["comparisons"]
    sizes = _sizes(column)
    row = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    lengths = _sizes(pc.list_flatten(column))
    if np.any(lengths != 2):
        bad = int(row[np.flatnonzero(lengths != 2)[0]])
        num_numbers = int(lengths[lengths != 2][0])
        what = f"a comparison of {num_numbers} numbers; it must be [chosen, rejected]."
        raise _fault(table, bad, what)
    flat = pc.list_flatten(pc.list_flatten(column))
    positions = np.asarray(pc.fill_null(flat, -1), dtype=np.int64).reshape(-1, 2)
    outside = (positions < 0) | (positions >= counts[row][:, None])
    if outside.any():
        bad = int(row[np.flatnonzero(outside.any(axis=1))[0]])
        what = f"{counts[bad]} responses but a comparison that points outside them."
        raise _fault(table, bad, what)
    return row, positions[:, 0], positions[:, 1]


def _compared_margins(table: pa.Table, row: IntArray) -> FloatArray:
    """Return the margin of each comparison, 0 where none is given; `row` is theirs."""
    column = table["margins"]
    has_margins = np.asarray(column.is_valid(), dtype=np.bool_)
    sizes = _sizes(column)
    num_compared = np.bincount(row, minlength=len(sizes))
    wrong = np.flatnonzero(has_margins & (sizes != num_compared))
    if len(wrong):
        bad = int(wrong[0])
        raise _fault(table, bad, f"{num_compared[bad]} comparisons but {sizes[bad]} margins.")
    margins = np.zeros(len(row), dtype=np.float64)
    given = np.asarray(pc.fill_null(pc.list_flatten(column), 0.0), dtype=np.float64)
    if not np.all(np.isfinite(given)):
        bad = int(np.repeat(np.arange(len(sizes)), sizes)[~np.isfinite(given)][0])
        raise _fault(table, bad, "a margin that is not finite.")
    margins[has_margins[row]] = given
    return margins


def _fault(table: pa.Table, row: int, what: str) -> ValueError:
    return ValueError(f"Interaction {table['interaction_id'][row].as_py()} has {what}")


def _sizes(lists: pa.ChunkedArray) -> IntArray:
    """Return the length of each list, 0 for null."""
    return np.asarray(pc.fill_null(pc.list_value_length(lists), 0), dtype=np.int64)


def _join(arrays: list[IntArray]) -> IntArray:
    """Concatenate arrays, or none; a lone one that is not empty is not copied."""
    full = [array for array in arrays if len(array)]
    if not full:
        return np.zeros(0, dtype=np.int64)
    return full[0] if len(full) == 1 else np.concatenate(full)
