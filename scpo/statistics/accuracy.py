"""Pairwise accuracy in two layers, with intervals that respect users.

In come margins of pairs (model and global model) and the user of each pair. Out come accuracies
as fractions 0..1 for three layers:

    overall      every pair
    distinctive  pairs on which the global model is wrong, d < 0
    consensus    the rest, d >= 0

A tie counts as wrong. The interval of a layer draws the users that have pairs in it.
"""

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scpo.arrays import BoolArray, FloatArray
from scpo.statistics.bootstrap import Interval, intervals_by_user

LAYERS = ("overall", "distinctive", "consensus")

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Accuracy:
    """One accuracy, a share of pairs in 0..1, with what a reader needs to judge it."""

    interval: Interval
    pairs: int
    ties: int  # pairs with two equal rewards, counted as wrong

    def as_dict(self) -> dict[str, float | int | None]:
        """Return accuracy, low, high, pairs, users and ties, as records and tables hold them."""
        counts = {"pairs": self.pairs, "users": self.interval.users, "ties": self.ties}
        return {**self.interval.columns("accuracy"), **counts}


def pair_accuracy(margin: ArrayLike, user: ArrayLike) -> Accuracy:
    """Return the accuracy of a model's margins m = r+ - r-, shape (P,), correct when m > 0.

    P may be 0; `user` is that of each pair, shape (P,).

    Raises:
        ValueError: A margin is not finite, or shapes differ.
    """
    rows = check_margins([margin], user)
    return _accuracies(rows, np.asarray(user))[0]


def layer_accuracies(
    margins: Mapping[Name, ArrayLike], reference_margin: ArrayLike, user: ArrayLike
) -> dict[Name, dict[str, Accuracy]]:
    """Return the accuracy of many models by model, then by layer.

    The margins of each model, `reference_margin` d, which divides the layers at 0, and the user of
    each pair are of shape (P,).

    Raises:
        ValueError: Shapes differ, or a margin is not finite.
    """
    rows = check_margins([*margins.values(), reference_margin], user)
    rows, reference = rows[:-1], rows[-1]
    _, user = np.unique(np.asarray(user), return_inverse=True)  # numbers sort faster than names
    found: dict[Name, dict[str, Accuracy]] = {name: {} for name in margins}
    for layer, inside in split_layers(reference).items():
        accuracies = _accuracies(rows[:, inside], user[inside])
        for name, accuracy in zip(margins, accuracies, strict=True):
            found[name][layer] = accuracy
    return found


def split_layers(reference_margin: FloatArray) -> dict[str, BoolArray]:
    """Return which pairs each layer holds, of shape (P,), from the global model's margins."""
    distinctive = reference_margin < 0
    return dict(zip(LAYERS, (np.ones_like(distinctive), distinctive, ~distinctive), strict=True))


def check_margins(margins: Collection[ArrayLike], user: ArrayLike) -> FloatArray:
    """Return margins as rows, shape (M, P).

    Raises:
        ValueError: Shapes differ, or a margin is not finite.
    """
    shapes = {np.shape(margin) for margin in margins}
    if shapes != {np.shape(user)} or np.ndim(user) != 1:
        raise ValueError(
            "Margins and user must have one shape (P,), but got "
            f"{', '.join(map(str, sorted(shapes)))} and {np.shape(user)}."
        )
    rows = np.array(list(margins), dtype=np.float64)
    if not np.all(np.isfinite(rows)):
        raise ValueError("Margins must be finite, but some are not.")
    return rows


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


def _accuracies(rows: FloatArray, user: ArrayLike) -> list[Accuracy]:
    figures = intervals_by_user(rows > 0, user)
    ties = np.count_nonzero(rows == 0, axis=1).tolist()
    return [
        Accuracy(figure, rows.shape[1], tied) for figure, tied in zip(figures, ties, strict=True)
    ]
