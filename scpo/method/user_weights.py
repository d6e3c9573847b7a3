"""The weight of a user: trust less who disagrees with the other users of the country.

An extreme disagreement on one pair may be culture; of a whole user it is more likely noise. With
m_i the out-of-fold margin of pair i, of a head that saw no pair of its user (`scpo.heads`), and
n_u the pairs of user u:

    agreement   z_u = sum_{i of u} m_i / (sd(m) sqrt(n_u))
    weight      W_i = min(exp(s z_user(i)), 1),   s the user strength, 0 for no weighting

It cannot tell a minority that rejects the consensus from outliers: both get little weight.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scpo.arrays import FloatArray
from scpo.method.strength import margin_scale
from scpo.method.weighting import finite_array

_FULL_STRENGTH_USERS = 30  # fewer get half the strength
_STRENGTH, _STRENGTH_OF_FEW = 1.0, 0.5

USER_WARNING = (
    "These users disagree most with the others of their country. A minority that rejects the "
    "consensus cannot be told from careless users: look at them before you trust these weights."
)


def default_user_strength(num_users: int) -> float:
    """Return the strength of the arm `user`: 1, or 0.5 with fewer than 30 users."""
    return _STRENGTH if num_users >= _FULL_STRENGTH_USERS else _STRENGTH_OF_FEW


def user_agreement(margin: FloatArray, user: NDArray[Any]) -> FloatArray:
    """Return z_u of each pair's user, how far that user agrees with the others, shape (P,).

    In come out-of-fold margins, shape (P,), and the user of each pair, shape (P,).

    Raises:
        ValueError: Shapes differ, a margin is not finite, or all margins are equal.
    """
    if margin.ndim != 1 or margin.shape != user.shape:
        raise ValueError(
            f"Margins and users must have one shape (P,), but got {margin.shape} and {user.shape}."
        )
    scale = margin_scale(margin)
    _, number, num_pairs = np.unique(user, return_inverse=True, return_counts=True)
    agreement = np.bincount(number, weights=margin / scale) / np.sqrt(num_pairs)
    return np.asarray(agreement[number])


def user_weights(agreement: FloatArray, strength: float) -> FloatArray:
    """Return the weight of each pair, that of its user, shape (P,), in [0, 1].

    `agreement` is as of `user_agreement`, shape (P,); strength 0 gives weights of 1.

    Raises:
        ValueError: `0 <= user_strength < inf` does not hold, or an agreement is not finite.
    """
    if not (strength >= 0.0 and math.isfinite(strength)):
        raise ValueError(f"`0 <= user_strength < inf` must hold, but got {strength}.")
    return np.asarray(np.exp(strength * np.minimum(finite_array(agreement), 0.0)))
