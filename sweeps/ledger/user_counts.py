"""Counts by user of records whose models answered the same pairs, lined up as matrices.

A bootstrap draws whole users, so records can be compared only on the same pairs of the same
users; `align_by_user` refuses others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scpo.arrays import FloatArray
from sweeps.ledger.records import EvaluationRecord, TrialRecord, UserCounts


@dataclass(frozen=True)
class UserMatrix:
    """Counts of S records on the same U users."""

    users: tuple[str, ...]  # sorted
    pairs: FloatArray  # shape (U,), pairs of each user
    correct: FloatArray  # shape (S, U), pairs that each record's model ordered right
    global_correct: FloatArray  # shape (U,), the same for the global model
    distinctive_pairs: FloatArray  # shape (U,), pairs on which the global model is wrong
    distinctive: FloatArray  # shape (S, U), those ordered right; NaN where a record lacks them

    def take(self, rows: Sequence[int]) -> "UserMatrix":
        """Return the counts of some of the records."""
        return replace(self, correct=self.correct[rows], distinctive=self.distinctive[rows])

    def layer(self, name: str) -> tuple[FloatArray, FloatArray] | None:
        """Return the pairs ordered right (S, U) and the pairs (U,) of a layer, if counted.

        The layer is "distinctive" or "consensus".
        """
        if np.isnan(self.distinctive).any():
            return None
        if name == "distinctive":
            return self.distinctive, self.distinctive_pairs
        return self.correct - self.distinctive, self.pairs - self.distinctive_pairs


def evaluation_of(record: TrialRecord, part: str) -> EvaluationRecord:
    """Return a complete record's evaluation on the part of the users it must come from.

    Raises:
        ValueError: There is no evaluation, or it stems from another part.
    """
    if record.evaluation is None:
        raise ValueError(f"Trial {record.trial_id} is complete but has no evaluation.")
    if record.evaluation.part != part:
        raise ValueError(
            f"A {record.purpose} trial must be evaluated on {part} users, "
            f"but trial {record.trial_id} has part={record.evaluation.part!r}."
        )
    return record.evaluation


def align_by_user(records: Sequence[TrialRecord], part: str) -> UserMatrix:
    """Return the counts of one country's complete records, at least one, lined up by user name.

    Every evaluation must come from the `part`, "validation" or "test".

    Raises:
        ValueError: A record's users or pairs differ from the first record's, its counts
            contradict each other, or its evaluation is missing or of another part.
    """
    first = _by_user(records[0], evaluation_of(records[0], part).by_user)
    users = tuple(sorted(first))
    pairs = {user: first[user][0] for user in users}
    rows = []
    for record in records:
        counts = _by_user(record, evaluation_of(record, part).by_user)
        _check_same(record, pairs, counts, records[0].trial_id)
        rows.append([counts[user][1] for user in users])
    global_counts = _by_user(records[0], evaluation_of(records[0], part).global_by_user)
    _check_same(records[0], pairs, global_counts, "its own by_user")
    return UserMatrix(
        users,
        np.array([pairs[user] for user in users], dtype=np.float64),
        np.array(rows, dtype=np.float64).reshape(len(records), len(users)),
        np.array([global_counts[user][1] for user in users], dtype=np.float64),
        *_distinctive_counts(records, users, part),
    )


def _distinctive_counts(
    records: Sequence[TrialRecord], users: Sequence[str], part: str
) -> tuple[FloatArray, FloatArray]:
    """Return distinctive pairs by user, and those that each record's model ordered right."""
    correct = np.full((len(records), len(users)), np.nan)
    first: dict[str, int] = {}
    for row, record in enumerate(records):
        counted = evaluation_of(record, part).distinctive_by_user
        if counted is not None:
            found = _by_user(record, counted)
            first = first or {user: pairs for user, (pairs, _) in found.items()}
            _check_same(record, first, found, "others on distinctive pairs")
            correct[row] = [found.get(user, (0, 0))[1] for user in users]
    return np.array([first.get(user, 0) for user in users], dtype=np.float64), correct


def _by_user(record: TrialRecord, counts: UserCounts) -> dict[str, tuple[int, int]]:
    """Return {user: (pairs, correct)}, refusing lists that cannot belong together."""
    sizes = {len(counts.users), len(counts.pairs), len(counts.correct), len(set(counts.users))}
    if len(sizes) != 1:
        raise ValueError(
            f"users, pairs and correct of trial {record.trial_id} must be equally long and name "
            f"each user once, but have lengths {len(counts.users)}, {len(counts.pairs)}, "
            f"{len(counts.correct)}."
        )
    table = {}
    for user, pairs, correct in zip(counts.users, counts.pairs, counts.correct, strict=True):
        if not (pairs > 0 and 0 <= correct <= pairs):
            raise ValueError(
                f"`0 <= correct <= pairs` and `pairs > 0` must hold for every user, but trial "
                f"{record.trial_id} has correct={correct}, pairs={pairs} for user {user}."
            )
        table[user] = (pairs, correct)
    return table


def _check_same(
    record: TrialRecord, pairs: dict[str, int], counts: dict[str, tuple[int, int]], other: str
) -> None:
    if {user: count for user, (count, _) in counts.items()} != pairs:
        differing = sorted(
            user
            for user in pairs.keys() | counts.keys()
            if pairs.get(user) != counts.get(user, (None,))[0]
        )
        raise ValueError(
            f"All {record.purpose} trials of {record.country} must be evaluated on the same pairs "
            f"of the same users, but trial {record.trial_id} differs from {other} in users "
            f"{', '.join(differing[:5])}. Do not mix runs with different splits."
        )
