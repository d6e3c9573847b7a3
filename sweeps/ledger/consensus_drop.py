"""How far consensus accuracy fell below the global model's, with its interval by user.

The global model is right on consensus pairs by construction; a tie of its counts as wrong, so its
accuracy is taken as 1 and the drop is an upper bound.
"""

import numpy as np

from scpo.arrays import FloatArray
from scpo.statistics.bootstrap import Interval
from scpo.statistics.lower_bound import student_ends
from sweeps.ledger.records import EvaluationRecord

CONSENSUS_DROP = "consensus_drop"  # the constraint's name in a record


def drop_interval(right: FloatArray, pairs: FloatArray) -> Interval:
    """Return the drop, a fraction, with its 95 % interval by user (Student's t) within 0..1.

    `right` and `pairs` are consensus pairs ordered right and all of them by user, each (U,). It
    has no value without pairs and no ends with fewer than 2 users.
    """
    num_users = int((pairs > 0).sum())
    if num_users == 0:
        return Interval(None, None, None, 0)
    lost = (pairs - right)[None]
    drop = float(lost.sum() / pairs.sum())
    if num_users == 1:
        return Interval(drop, None, None, 1)
    (low,), (high,) = (ends.clip(0.0, 1.0).tolist() for ends in student_ends(lost, pairs))
    return Interval(drop, low, high, num_users)


def shown_excess(evaluation: EvaluationRecord, max_drop: float) -> float:
    """Return the constraint's value: the drop that is shown, minus what is allowed.

    Shown is the lower end of the drop's interval, 0 where there is none or the record does not
    count the layers by user; the value is above 0 where a model is shown to lose too much.
    """
    distinctive = evaluation.distinctive_by_user
    if distinctive is None:
        return -max_drop
    taken = {
        user: (pairs, correct)
        for user, pairs, correct in zip(
            distinctive.users, distinctive.pairs, distinctive.correct, strict=True
        )
    }
    own = evaluation.by_user
    others = np.array([taken.get(user, (0, 0)) for user in own.users], dtype=np.float64)
    counts = np.column_stack([own.pairs, own.correct]).reshape(-1, 2) - others.reshape(-1, 2)
    return (drop_interval(counts[:, 1], counts[:, 0]).low or 0.0) - max_drop
