"""Strength and retention: the searched numbers that stand for the paper's beta and tau."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from scpo.arrays import BoolArray
from scpo.method.weighting import finite_array


def margin_scale(reference_margin: ArrayLike) -> float:
    """Return the standard deviation of the reference margins: the unit of the strength.

    Raises:
        ValueError: Fewer than two pairs, or a margin is not finite, or all margins are equal.
    """
    margin = finite_array(reference_margin)
    spread = float(np.ptp(margin)) if margin.size > 1 else 0.0  # std of equal ones may round
    if spread == 0.0:
        raise ValueError(
            f"Reference margins that differ must be given, but {margin.size} pairs have "
            "standard deviation 0. Does the global model give one score to everything?"
        )
    return float(margin.std())


def beta_of_strength(strength: float, scale: float) -> float:
    """Return beta = scale / strength; strength 0 is no weighting, beta = infinity.

    Raises:
        ValueError: `strength >= 0` or `scale > 0` does not hold.
    """
    if not (strength >= 0.0 and math.isfinite(strength)):
        raise ValueError(f"`0 <= strength < inf` must hold, but got strength={strength}.")
    if not (scale > 0.0 and math.isfinite(scale)):
        raise ValueError(f"`0 < scale < inf` must hold, but got scale={scale}.")
    return math.inf if strength == 0.0 else scale / strength


def retention_mask(reference_margin: ArrayLike, retention: float) -> BoolArray:
    """Return which pairs a share `retention` keeps, smallest margin d first, shape (P,).

    The number kept is round(retention * P), at least 1; pairs that tie with the last one kept stay
    in, so it may be a few more.

    Raises:
        ValueError: `0 < retention <= 1` does not hold, there are no pairs, or one is not finite.
    """
    if not 0.0 < retention <= 1.0:
        raise ValueError(f"`0 < retention <= 1` must hold, but got retention={retention}.")
    margin = finite_array(reference_margin)
    if margin.size == 0:
        raise ValueError("At least one pair must be given to set a retention, but got none.")
    num_kept = max(1, round(retention * margin.size))
    return np.asarray(margin <= np.partition(margin, num_kept - 1)[num_kept - 1])


def tau_of_retention(reference_margin: ArrayLike, retention: float) -> float:
    """Return the tau that a share of the pairs amounts to, 1 when and only when all are kept.

    `keep_mask` with it keeps the pairs of `retention_mask`, as far as the sigmoid can tell them
    apart: above d = 30 its float64 values are too close to 1.

    Raises:
        ValueError: As of `retention_mask`.
    """
    return tau_of_mask(reference_margin, retention_mask(reference_margin, retention))


def tau_of_mask(reference_margin: ArrayLike, keep: BoolArray) -> float:
    """Return the tau that keeps what `retention_mask` does, shape (P,); see `tau_of_retention`."""
    if keep.all():
        return 1.0
    margin = np.asarray(reference_margin, dtype=np.float64)
    tau = float(expit(0.5 * (margin[keep].max() + margin[~keep].min())))
    return min(max(tau, math.nextafter(0.0, 1.0)), math.nextafter(1.0, 0.0))
