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
from sweeps.ranking.recommendation import Candidates, compare_settings

NUM_CHOICES = 200
_NUM_INNER_RESAMPLES = 200


def estimate_optimism(candidates: Candidates, *, chosen: int, margin: float) -> float | None:
    """Return how much worse a setting does on users it was not chosen by, on average, a fraction.

    Per resample of the users: choose again by the same rule, of non-inferiority `margin`; on the
    users left out, take the right pairs of the setting chosen on all users (row `chosen`) minus
    those of the setting chosen again. The optimism is the sum of these over all resamples, divided
    by the pairs judged. Over resamples the first has the validation accuracy as its mean, so
    accuracy - optimism estimates the accuracy of the rule's choice on users who had no say in it.
    It is 0 with one setting and None with fewer than 2 users.
    """
    if len(candidates.pairs) < 2:
        return None
    draws, again = choose_again(candidates, margin=margin)
    left_out = draws == 0
    judged = (left_out @ candidates.pairs).sum()
    lost = (left_out * (candidates.correct[chosen] - candidates.correct[again])).sum()
    return float(lost / judged) if judged else None


def choose_again(
    candidates: Candidates, *, margin: float, seed: int = 0
) -> tuple[IntArray, IntArray]:
    """Return how often each user was drawn, (B, U), and the rows that the rule then chooses, (B,).

    How far settings break the constraint is held as it is; `margin` is the rule's.
    """
    num_users = len(candidates.pairs)
    draws = np.random.default_rng(seed).multinomial(
        num_users, np.full(num_users, 1 / num_users), size=NUM_CHOICES
    )
    chosen = [
        compare_settings(
            candidates.drawn(draw),
            margin=margin,
            num_resamples=_NUM_INNER_RESAMPLES,
            seed=seed + number,
        ).chosen
        for number, draw in enumerate(draws)
    ]
    return draws, np.array(chosen)
