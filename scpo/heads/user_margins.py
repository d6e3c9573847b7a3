"""How users agree with the others of their country, by heads that never saw them.

Heads of the arm `full` are trained without a fold of users and judge it in turn: the out-of-fold
margins from which `scpo.method.user_weights` makes weights. Of several pulls to the global model
the one that judges held-out pairs best counts. The gate asks the same way whether the weights
help at all.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import log_expit

from scpo.arrays import FloatArray
from scpo.heads.linear_heads import ProbedPairs, head_margins, train_heads
from scpo.method.user_weights import default_user_strength, user_agreement, user_weights
from scpo.statistics.lower_bound import means_by_user
from scpo.statistics.user_folds import deal_users

NUM_FOLDS = 5  # of users
MIN_USERS = 2 * NUM_FOLDS
_GATE_FOLDS = 3
_PULLS = np.array([0.003, 0.03, 0.3, 3.0])
_STEPS = 24
_DECIMALS = 9  # of agreement: processes that share a training must agree whatever their threads


@dataclass(frozen=True)
class UserGate:
    """What weights of users gained over weights of 1, on inner folds of the training users."""

    gain: float  # accuracy, a fraction
    standard_error: float  # by user

    @property
    def is_open(self) -> bool:
        """Whether the weights may be used: they lost no more than a standard error."""
        return self.gain >= -self.standard_error


def out_of_fold_margins(pairs: ProbedPairs, *, num_folds: int = NUM_FOLDS) -> FloatArray:
    """Return the margin of each pair by a head that saw no pair of its user, shape (P,).

    Raises:
        ValueError: Fewer than two users a fold, or all differences are 0.
    """
    num_users = len(np.unique(pairs.user))
    if num_users < 2 * num_folds:
        raise ValueError(
            f"Weights of users need at least {2 * num_folds} users, 2 a fold, but there are "
            f"{num_users}."
        )
    (margins,) = _held_out_margins(pairs, num_folds, lambda seen: np.ones((1, len(seen))))
    return _best_of_pulls(margins)


def agreement_of_users(pairs: ProbedPairs) -> FloatArray:
    """Return z_u of each pair's user, shape (P,), from five folds, or fewer where users are few.

    Raises:
        ValueError: Fewer than 4 users, all differences are 0, or all margins are equal.
    """
    num_folds = max(2, min(NUM_FOLDS, len(np.unique(pairs.user)) // 2))
    margin = out_of_fold_margins(pairs, num_folds=num_folds)
    return np.round(user_agreement(margin, pairs.user), _DECIMALS)


def gate_users(pairs: ProbedPairs, user_strength: float) -> UserGate:
    """Return what weights of this strength gain over `full` on three inner folds of the users.

    The gain of a user is the pairs that the weighted head orders right less those of `full`; see
    `scpo.statistics.lower_bound`.

    Raises:
        ValueError: As of `agreement_of_users` on two thirds of the users.
    """

    def weigh(seen: ProbedPairs) -> FloatArray:
        weights = user_weights(agreement_of_users(seen), user_strength)
        return np.stack([np.ones(len(seen)), weights])

    plain, weighted = map(_best_of_pulls, _held_out_margins(pairs, _GATE_FOLDS, weigh))
    _, number, num_pairs = np.unique(pairs.user, return_inverse=True, return_counts=True)
    gained = np.bincount(number, weights=(weighted > 0) * 1.0 - (plain > 0))
    (gain,), (error,) = means_by_user(gained[None], num_pairs)
    return UserGate(float(gain), float(error))


def gated_strength(pairs: ProbedPairs) -> float:
    """Return the strength of the arm `user`: its default, or 0 where the gate is shut.

    Raises:
        ValueError: As of `gate_users`.
    """
    strength = default_user_strength(len(np.unique(pairs.user)))
    return strength if gate_users(pairs, strength).is_open else 0.0


def _held_out_margins(
    pairs: ProbedPairs, num_folds: int, weigh: Callable[[ProbedPairs], FloatArray]
) -> FloatArray:
    """Return the margins of pairs by heads that never saw their users, shape (K, pulls, P).

    `weigh` returns K rows of weights of the pairs seen, shape (K, P).
    """
    fold = deal_users(pairs.user, num_folds, seed=0)
    folds = []
    for number in range(num_folds):
        seen, held = (np.flatnonzero(part) for part in (fold != number, fold == number))
        train = pairs.take(seen)
        weights = weigh(train)
        num_rows = len(weights) * len(_PULLS)
        moved = train_heads(
            train.differences,
            train.offset,
            np.repeat(weights, len(_PULLS), axis=0),
            np.full(num_rows, len(train)),
            l2=np.tile(_PULLS, len(weights)),
            steps=np.full(num_rows, _STEPS),
        )
        folds.append((held, head_margins(moved, pairs.take(held))))
    margins = np.zeros((len(folds[0][1]), len(pairs)))
    for held, margin in folds:
        margins[:, held] = margin
    return margins.reshape(-1, len(_PULLS), len(pairs))


def _best_of_pulls(margins: FloatArray) -> FloatArray:
    """Return the margins, (P,), of the pull that orders most right; among equals of least loss."""
    right, loss = (margins > 0).sum(axis=1), -log_expit(margins).sum(axis=1)
    return np.asarray(margins[np.lexsort((loss, -right))[0]])
