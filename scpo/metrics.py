"""Pairwise accuracy in two layers, with intervals that respect users.

In come margins of pairs (model and global model), the user of each pair and, for the baseline,
the lengths of the two texts. Out come accuracies as fractions 0..1 for three layers:

    overall      every pair
    distinctive  pairs on which the global model is wrong, d < 0
    consensus    the rest, d >= 0

A tie counts as wrong. Pairs of one user are not independent, so intervals come from a bootstrap
that draws whole users. Every accuracy carries its number of pairs and users.
"""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scpo.resampling import resample_sums, widened_tail

QUICK_RESAMPLES = 2000
LAYERS = ("overall", "distinctive", "consensus")


@dataclass(frozen=True)
class Accuracy:
    """One accuracy with what a reader needs to judge it.

    Attributes:
        accuracy: Share of pairs ordered right, 0..1; None without pairs.
        low: Lower end of the 95 % interval by user bootstrap; None with fewer than 2 users.
        high: Upper end of the same interval.
        pairs: Number of pairs.
        users: Number of users that gave them.
        ties: Pairs with two equal rewards, counted as wrong.
    """

    accuracy: float | None
    low: float | None
    high: float | None
    pairs: int
    users: int
    ties: int

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the fields as plain values for a record."""
        return asdict(self)


def bootstrap_by_user(
    correct: ArrayLike,
    user: ArrayLike,
    *,
    num_resamples: int = QUICK_RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return an interval of mean(correct) from resampling whole users, widened for few.

    Args:
        correct: Shape (P,), the statistic of each pair: 0/1, or a difference of two models.
        user: Shape (P,), any labels.
        num_resamples: Bootstrap draws.
        level: Coverage aimed at, in (0, 1).
        seed: Seed of the draws.

    Returns:
        (low, high).

    Raises:
        ValueError: Shapes differ, or there are fewer than two users.
    """
    value = np.asarray(correct, dtype=np.float64)
    _, index = np.unique(np.asarray(user), return_inverse=True)
    if value.shape != index.shape:
        raise ValueError(
            f"correct and user must have one shape, but got {value.shape} and {index.shape}."
        )
    num_users = int(index.max(initial=-1)) + 1
    if num_users < 2:
        raise ValueError(f"`users >= 2` must hold for an interval, but got {num_users}.")
    sums_and_counts = np.stack([np.bincount(index, weights=value), np.bincount(index) * 1.0])
    drawn = resample_sums(sums_and_counts, num_resamples=num_resamples, seed=seed)
    tail = widened_tail(num_users, level)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [tail, 1 - tail])
    return float(low), float(high)


def pair_accuracy(margin: ArrayLike, user: ArrayLike, *, seed: int = 0) -> Accuracy:
    """Return the accuracy of a model's margins m = r+ - r-, correct when m > 0.

    Args:
        margin: Shape (P,), finite; P may be 0.
        user: Shape (P,), the user of each pair.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: A margin is not finite, or shapes differ.
    """
    margin = np.asarray(margin, dtype=np.float64)
    user = np.asarray(user)
    if margin.shape != user.shape:
        raise ValueError(
            f"margin and user must have one shape, but got {margin.shape} and {user.shape}."
        )
    if not np.all(np.isfinite(margin)):
        raise ValueError("Margins must be finite to be counted, but some are not.")
    _, index = np.unique(user, return_inverse=True)  # numbers sort faster than names
    num_users = int(index.max(initial=-1)) + 1
    if margin.size == 0:
        return Accuracy(None, None, None, 0, 0, 0)
    correct = margin > 0
    low, high = bootstrap_by_user(correct, index, seed=seed) if num_users > 1 else (None, None)
    ties = int(np.count_nonzero(margin == 0))
    return Accuracy(float(correct.mean()), low, high, margin.size, num_users, ties)


def layered_accuracy(
    margin: ArrayLike, reference_margin: ArrayLike, user: ArrayLike, *, seed: int = 0
) -> dict[str, Accuracy]:
    """Return {"overall", "distinctive", "consensus"} accuracy of a model's margins.

    Args:
        margin: Shape (P,), the model's margins.
        reference_margin: Shape (P,), the global model's, which divides the layers at 0.
        user: Shape (P,), the user of each pair.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: Shapes differ or a value is not finite.
    """
    margin = np.asarray(margin, dtype=np.float64)
    reference = np.asarray(reference_margin, dtype=np.float64)
    _, user = np.unique(np.asarray(user), return_inverse=True)  # once for all layers
    if margin.shape != reference.shape:
        raise ValueError(
            "margin and reference_margin must have one shape, "
            f"but got {margin.shape} and {reference.shape}."
        )
    if not np.all(np.isfinite(reference)):
        raise ValueError("Reference margins must be finite, but some are not.")
    distinctive = reference < 0
    return {
        "overall": pair_accuracy(margin, user, seed=seed),
        "distinctive": pair_accuracy(margin[distinctive], user[distinctive], seed=seed),
        "consensus": pair_accuracy(margin[~distinctive], user[~distinctive], seed=seed),
    }


def counts_by_user(
    margin: NDArray[np.float64], user: NDArray[np.str_]
) -> dict[str, list[str] | list[int]]:
    """Return {"users", "pairs", "correct"}: what a paired bootstrap needs, without the pairs."""
    names, index = np.unique(user, return_inverse=True)
    pairs = np.bincount(index, minlength=len(names))
    correct = np.bincount(index, weights=margin > 0, minlength=len(names))
    return {
        "users": [str(name) for name in names],
        "pairs": [int(count) for count in pairs],
        "correct": [int(count) for count in correct],
    }
