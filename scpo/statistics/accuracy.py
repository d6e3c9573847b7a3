"""Pairwise accuracy in two layers, with intervals that respect users.

In come margins of pairs (model and global model), the user of each pair and, for the baseline,
the lengths of the two texts. Out come accuracies as fractions 0..1 for three layers:

    overall      every pair
    distinctive  pairs on which the global model is wrong, d < 0
    consensus    the rest, d >= 0

A tie counts as wrong. Pairs of one user are not independent, so intervals come from a bootstrap
that draws whole users. Every accuracy carries its number of pairs and users.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scpo.arrays import BoolArray, FloatArray
from scpo.statistics.bootstrap import (
    NUM_RESAMPLES,
    bootstrap_by_user,
    divide_draws,
    quantile_ends,
    resample_sums,
    sum_by_user,
)

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


def layer_accuracies(
    margins: Mapping[str, FloatArray],
    reference_margin: ArrayLike,
    user: ArrayLike,
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, dict[str, Accuracy]]:
    """Return the accuracy of many models in each layer, all from the same resamples.

    Args:
        margins: Margins of each model, each of shape (P,), finite.
        reference_margin: d, which divides the layers at 0, shape (P,), finite.
        user: User of each pair, shape (P,).
        num_resamples: Bootstrap draws.
        seed: Seed of the draws.

    Returns:
        By model, then by layer ("overall", "distinctive", "consensus").

    Raises:
        ValueError: Shapes differ, or a margin is not finite.
    """
    reference = np.asarray(reference_margin, dtype=np.float64)
    rows = np.array(list(margins.values()), dtype=np.float64)
    if rows.shape != (len(margins), *reference.shape) or reference.shape != np.shape(user):
        raise ValueError(
            "margins, reference_margin and user must have one shape, but got "
            f"{rows.shape[1:]}, {reference.shape} and {np.shape(user)}."
        )
    if not (np.all(np.isfinite(rows)) and np.all(np.isfinite(reference))):
        raise ValueError("Margins must be finite to be counted, but some are not.")
    inside = np.stack([np.ones(reference.shape, dtype=np.bool_), reference < 0, reference >= 0])
    right = (rows > 0)[:, None, :] & inside
    sums = sum_by_user(np.concatenate([right.reshape(-1, reference.size), inside]), user)
    totals, counts = sums[: -len(LAYERS)].reshape(len(rows), len(LAYERS), -1), sums[-len(LAYERS) :]
    shares = _drawn_shares(sums, len(rows), num_resamples, seed)
    return {
        name: {
            layer: _layer(position, totals[row], counts, rows[row] == 0, inside, shares[:, row])
            for position, layer in enumerate(LAYERS)
        }
        for row, name in enumerate(margins)
    }


def _drawn_shares(sums: FloatArray, num_models: int, num_resamples: int, seed: int) -> FloatArray:
    """Return accuracy by resample, model and layer, shape (R, M, 3)."""
    if sums.shape[1] < 2:
        return np.zeros((0, num_models, len(LAYERS)))
    drawn = resample_sums(sums, num_resamples=num_resamples, seed=seed)
    totals = drawn[:, : -len(LAYERS)].reshape(num_resamples, num_models, len(LAYERS))
    return divide_draws(totals, drawn[:, None, -len(LAYERS) :])


def _layer(
    position: int,
    totals: FloatArray,
    counts: FloatArray,
    tied: BoolArray,
    inside: BoolArray,
    shares: FloatArray,
) -> Accuracy:
    """Return one model's accuracy in one layer."""
    pairs = int(counts[position].sum())
    users = int(np.count_nonzero(counts[position]))
    return Accuracy(
        float(totals[position].sum()) / pairs if pairs else None,
        *quantile_ends(shares[:, position], users),
        pairs,
        users,
        int(np.count_nonzero(tied & inside[position])),
    )
