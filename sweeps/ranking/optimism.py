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
    """Return how much worse a setting does on users it was not chosen by, on average.

    Per resample of the users: choose again by the same rule; on the users left out, take the
    right pairs of the setting chosen on all users minus those of the setting chosen again. The
    optimism is the sum of these over all resamples, divided by the pairs judged. Over resamples
    the first has the validation accuracy as its mean, so accuracy - optimism estimates the
    accuracy of the rule's choice on users who had no say in it.

    Args:
        candidates: The settings.
        chosen: Row that was chosen on all users.
        margin: Non-inferiority margin of the rule.

    Returns:
        The optimism as a fraction, 0 with one setting; None with fewer than 2 users.
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
    """Return resamples of the users and the row that the rule chooses on each.

    Args:
        candidates: The settings; how far they break the constraint is held as it is.
        margin: Non-inferiority margin of the rule.
        seed: Seed of the resamples.

    Returns:
        How often each user was drawn, shape (B, U), and the chosen rows, shape (B,).
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
