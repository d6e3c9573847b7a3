"""The choice that does not lose: the best lower bound of a gain over a named base.

In come right pairs by user, out comes which of many settings to use instead of the base. The most
accurate of many noisy settings is mostly the luckiest one; a setting is used only where the lower
bound of its gain is above 0:

    g_su = right_su - right_bu,   G_s = sum_u g_su / N,
    SE_s^2 = U / (U - 1) sum_u (g_su - G_s n_u)^2 / N^2,   s* = argmax_s (G_s - k SE_s)

with n_u pairs of user u, N of all U users. Settings with SE_s = 0 order every user's pairs as the
base does, or are judged by too few users to tell, so the base stands for them.

Legend: S settings, U users.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit

from scpo.arrays import BoolArray, FloatArray
from scpo.statistics.bootstrap import LEVEL

CAUTION = 1.645  # k: a setting no better than the base passes one time in twenty
_POWER = 0.8
_ROUNDING = 1e-12  # of an error, as a share of accuracy


def means_by_user(totals: ArrayLike, pairs: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return sum(totals) / sum(pairs) of S statistics and their standard errors, each (S,).

    `totals`, shape (S, U), are sums of each user over their pairs, `pairs`, shape (U,), how many
    those are; users without pairs are left out. The error is infinite with fewer than 2 users.

    Raises:
        ValueError: Shapes do not fit, a value is not finite, or there are no pairs.
    """
    sums, counts = np.asarray(totals, dtype=np.float64), np.asarray(pairs, dtype=np.float64)
    if sums.ndim != 2 or sums.shape[1:] != counts.shape:
        raise ValueError(
            f"totals must be (S, U) and pairs (U,), but got {sums.shape} and {counts.shape}."
        )
    if not (np.all(counts >= 0) and np.isfinite(counts).all() and np.isfinite(sums).all()):
        raise ValueError("Totals and pairs must be finite and `pairs >= 0` must hold.")
    sums, counts = sums[:, counts > 0], counts[counts > 0]
    num_users, num_pairs = len(counts), counts.sum()
    if num_users == 0:
        raise ValueError("At least one user must have pairs to judge by, but none has.")
    means = sums.sum(axis=1) / num_pairs
    if num_users == 1:
        return means, np.full(len(means), np.inf)
    squares = np.square(sums - means[:, None] * counts).sum(axis=1)
    errors = np.sqrt(num_users / (num_users - 1) * squares) / num_pairs
    return means, np.where(errors < _ROUNDING, 0.0, errors)


def lower_bounds(
    right: ArrayLike, base: ArrayLike, pairs: ArrayLike, *, caution: float = CAUTION
) -> FloatArray:
    """Return G_s - k SE_s of S settings over a base, shape (S,); -inf where SE_s = 0.

    `right`, shape (S, U), and `base`, shape (U,), are right pairs by user, perhaps means over
    trainings; `pairs`, shape (U,), all pairs; `caution` is k, infinite to keep the base always.

    Raises:
        ValueError: `caution >= 0` or `0 <= right <= pairs` does not hold; see `means_by_user`.
    """
    if not caution >= 0:
        raise ValueError(f"`caution >= 0` must hold, but got {caution}.")
    ours, theirs = np.asarray(right, dtype=np.float64), np.asarray(base, dtype=np.float64)
    counts = np.asarray(pairs, dtype=np.float64)
    if theirs.shape != counts.shape or ours.shape[1:] != counts.shape:
        raise ValueError(
            f"right must be (S, U), base and pairs (U,), but got {ours.shape}, {theirs.shape} "
            f"and {counts.shape}."
        )
    for values in (ours, theirs):
        if not (np.all(values >= 0) and np.all(values <= counts * (1 + 1e-9))):
            raise ValueError("`0 <= right <= pairs` must hold for every setting and user.")
    gains, errors = means_by_user(ours - theirs, counts)
    bounds = np.full(len(gains), -np.inf)
    told = (errors > 0) & np.isfinite(errors)
    if math.isfinite(caution):
        bounds[told] = gains[told] - caution * errors[told]
    return bounds


def choose_over_base(
    right: ArrayLike,
    base: ArrayLike,
    pairs: ArrayLike,
    *,
    caution: float = CAUTION,
    allowed: BoolArray | None = None,
) -> int | None:
    """Return the row to use instead of the base, None to keep it; of equal ones the first.

    Only rows of `allowed`, shape (S,), may be chosen, None for all; otherwise as `lower_bounds`.

    Raises:
        ValueError: See `lower_bounds`.
    """
    bounds = lower_bounds(right, base, pairs, caution=caution)
    if allowed is not None:
        bounds = np.where(allowed, bounds, -np.inf)
    if len(bounds) == 0 or bounds.max() <= 0:
        return None
    return int(bounds.argmax())


def student_ends(totals: ArrayLike, pairs: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return the ends of the 95 % intervals by user of S means, Student's t, each (S,).

    Arguments as of `means_by_user`. They are infinite with fewer than 2 users; no draw is made, so
    thousands of settings cost nothing.

    Raises:
        ValueError: See `means_by_user`.
    """
    means, errors = means_by_user(totals, pairs)
    num_users = int(np.count_nonzero(np.asarray(pairs) > 0))
    reach = errors if num_users < 2 else errors * stdtrit(num_users - 1, 0.5 + LEVEL / 2)
    return means - reach, means + reach


def users_needed(difference: float, *, error: float, num_users: int) -> int:
    """Return how many users show a difference in four of five repeats, by its 95 % interval.

    `error` is the standard error of such a difference with `num_users`, in the same unit; it falls
    with the root of their number.

    Raises:
        ValueError: A number is not positive.
    """
    if not (difference > 0 and error >= 0 and num_users > 0):
        raise ValueError(
            "`difference > 0`, `error >= 0` and `num_users > 0` must hold, but got "
            f"{difference}, {error} and {num_users}."
        )
    quantiles = float(ndtri(0.5 + LEVEL / 2) + ndtri(_POWER))
    return max(2, math.ceil(num_users * (quantiles * error / difference) ** 2))
