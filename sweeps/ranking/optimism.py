"""Selection bias: by how much the accuracy that a setting was chosen by is too high.

In come the counts per user that the choice was made on; out comes the optimism, a fraction of
accuracy. The whole choice is made again on resamples of the users, and each time what was chosen
is judged on the users that the resample left out (bootstrap bias corrected cross-validation).

Reference:
    Tsamardinos, Greasidou and Borboudakis, Bootstrapping the out-of-sample predictions for
    efficient and accurate cross-validation, Machine Learning 107 (2018), section 3.
"""

import numpy as np

from scpo.arrays import IntArray
from sweeps.ranking.recommendation import Candidates, choose_accurate

NUM_CHOICES = 200


def estimate_optimism(candidates: Candidates, *, chosen: int, caution: float) -> float | None:
    """Return how much worse a setting does on users it was not chosen by, on average, a fraction.

    Per resample of the users: choose again by the lower bound of `caution`; on the users left out,
    take the right pairs of the row chosen on all users (`chosen`) minus those of the row chosen
    again. The optimism is the sum of these over all resamples, divided by the pairs judged. Over
    resamples the first has the validation accuracy as its mean, so accuracy - optimism estimates
    the accuracy of the rule's choice on users who had no say in it. It is None with fewer than 2
    users.
    """
    if len(candidates.pairs) < 2:
        return None
    draws, again = choose_again(candidates, caution=caution)
    left_out, rows = draws == 0, candidates.rows
    judged = (left_out @ candidates.pairs).sum()
    lost = (left_out * (rows[chosen] - rows[again])).sum()
    return float(lost / judged) if judged else None


def choose_again(
    candidates: Candidates, *, caution: float, seed: int = 0
) -> tuple[IntArray, IntArray]:
    """Return how often each user was drawn, (B, U), and the rows that the rule then chooses, (B,).

    How far settings break the constraint is held as it is; the row of the global model is
    `GLOBAL_ROW`.
    """
    num_users = len(candidates.pairs)
    draws = np.random.default_rng(seed).multinomial(
        num_users, np.full(num_users, 1 / num_users), size=NUM_CHOICES
    )
    chosen = [choose_accurate(candidates.drawn(draw), caution)[1] for draw in draws]
    return draws, np.array(chosen)
