"""Users dealt into folds.

The order depends on the seed and the users' ids alone, not on the order of the rows.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scpo.arrays import IntArray


def shuffle_users(users: ArrayLike, *, seed: int) -> list[str]:
    """Return the distinct users in the random order of a seed."""
    shuffled: list[str] = np.random.default_rng(seed).permutation(np.unique(users)).tolist()
    return shuffled


def deal_users(user: NDArray[np.str_], num_folds: int, *, seed: int) -> IntArray:
    """Return the fold of each row, 0..k-1: users are dealt in random order, sizes differ by one.

    `user` is that of each row, shape (P,).

    Raises:
        ValueError: `2 <= k <= users` does not hold.
    """
    users = shuffle_users(user, seed=seed)
    if not 2 <= num_folds <= len(users):
        raise ValueError(f"`2 <= folds <= {len(users)}`, the users, must hold, got {num_folds}.")
    fold_of = {name: position % num_folds for position, name in enumerate(users)}
    return np.array([fold_of[name] for name in user.tolist()], dtype=np.int64)
