"""The winner's curse: by how much the figure a setting was chosen by flatters it.

In come the counts per user that the choice was made on; out comes the optimism, a fraction of
accuracy. The whole choice is made again on resamples of the users, and each time what was chosen
is judged on the users that the resample left out (bootstrap bias corrected cross-validation).

Reference:
    Tsamardinos, Greasidou and Borboudakis, Bootstrapping the out-of-sample predictions for
    efficient and accurate cross-validation, Machine Learning 107 (2018), section 3.
"""

import numpy as np
from numpy.typing import NDArray

from scpo.arrays import FloatArray
from sweeps.ranking.recommendation import compare_settings

NUM_CHOICES = 200
NUM_INNER_RESAMPLES = 200


def estimate_optimism(
    correct: FloatArray,
    pairs: FloatArray,
    pairs_trained: FloatArray,
    violation: FloatArray,
    *,
    chosen: int,
    margin: float,
) -> float | None:
    """Return how much worse a setting does on users it was not chosen by, on average.

    Per resample of the users: choose again by the same rule; on the users left out, take the
    right pairs of the setting chosen on all users minus those of the setting chosen again. The
    optimism is the sum of these over all resamples, divided by the pairs judged. Over resamples
    the first has the validation accuracy as its mean, so accuracy - optimism estimates the
    accuracy of the rule's choice on users who had no say in it.

    Args:
        correct: As in `choose_again`, like the next three.
        pairs: Pairs.
        pairs_trained: Costs.
        violation: Violations.
        chosen: Row that was chosen on all users.
        margin: Non-inferiority margin of the rule.

    Returns:
        The optimism as a fraction, 0 with one setting; None with fewer than 2 users.
    """
    if len(pairs) < 2:
        return None
    draws, again = choose_again(correct, pairs, pairs_trained, violation, margin=margin)
    left_out = draws == 0
    judged = (left_out @ pairs).sum()
    lost = (left_out * (correct[chosen] - correct[again])).sum()
    return float(lost / judged) if judged else None


def choose_again(
    correct: FloatArray,
    pairs: FloatArray,
    pairs_trained: FloatArray,
    violation: FloatArray,
    *,
    margin: float,
    seed: int = 0,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return resamples of the users and the row that the rule chooses on each.

    Args:
        correct: Shape (S, U), right pairs of each setting and user.
        pairs: Shape (U,), pairs of each user.
        pairs_trained: Shape (S,), what a setting costs.
        violation: Shape (S,), by how much the constraint is broken; held as it is.
        margin: Non-inferiority margin of the rule.
        seed: Seed of the resamples.

    Returns:
        How often each user was drawn, shape (B, U), and the chosen rows, shape (B,).
    """
    num_users = len(pairs)
    draws = np.random.default_rng(seed).multinomial(
        num_users, np.full(num_users, 1 / num_users), size=NUM_CHOICES
    )
    chosen = []
    for number, draw in enumerate(draws):
        drawn = np.repeat(np.arange(num_users), draw)
        result = compare_settings(
            correct[:, drawn],
            pairs[drawn],
            pairs_trained,
            violation,
            margin=margin,
            num_resamples=NUM_INNER_RESAMPLES,
            seed=seed + number,
        )
        chosen.append(result.chosen)
    return draws, np.array(chosen)
