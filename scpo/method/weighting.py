"""The SCPO filter and weights, from reference margins alone.

With d = r_glo(x, y+) - r_glo(x, y-), the margin of the *global* reward model on a labelled pair:

    keep     sigmoid(d) < tau                         the global model is not already sure
    weight   W = min(exp(d / beta), 1)                trust extreme disagreement less
    inverse  W = max(exp(-d / beta), 1)               the ablation: trust it more

Everything is elementwise on arrays of one shape, in float64, and stable for |d| up to 1e4 and
beyond: the exponent is clamped before `exp`. No array here knows about texts or models.

Reference:
    arXiv 2606.18606, section 3 (filter and weight), ablation "inverse weighting".
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from scpo.arrays import BoolArray, FloatArray

PAPER_TAU = 0.7
PAPER_BETA = 1.10
INVERSE_BETA = 1.0  # the authors'
INVERSE_WEIGHT_CAP = 1e3  # the formula has none, and overflows without one


def keep_mask(reference_margin: ArrayLike, tau: float = PAPER_TAU) -> BoolArray:
    """Return which pairs the training filter keeps: sigmoid(d) < tau, all of them at tau = 1.

    In comes d, shape (P,); tau is a threshold on the global preference probability.

    Raises:
        ValueError: `0 < tau <= 1` does not hold, or a margin is not finite.
    """
    if not 0.0 < tau <= 1.0:
        raise ValueError(f"`0 < tau <= 1` must hold, but got tau={tau}.")
    margin = finite_array(reference_margin)
    if tau == 1.0:  # sigmoid rounds to 1 for d > 37, and tau = 1 means no filter
        return np.ones(margin.shape, dtype=np.bool_)
    return np.asarray(expit(margin) < tau)


def pair_weights(reference_margin: ArrayLike, beta: float = PAPER_BETA) -> FloatArray:
    """Return the SCPO weight W = min(exp(d / beta), 1) of each pair, shape (P,), in [0, 1].

    beta is in reward units; `math.inf` gives weights of 1. An extreme d underflows to 0.

    Raises:
        ValueError: `beta > 0` does not hold, or a margin is not finite.
    """
    _check_beta(beta)
    return np.asarray(np.exp(np.minimum(finite_array(reference_margin), 0.0) / beta))


def inverse_pair_weights(reference_margin: ArrayLike, beta: float = INVERSE_BETA) -> FloatArray:
    """Return the ablation's weight max(exp(-d / beta), 1): extreme disagreement counts more.

    Weights are of shape (P,), in [1, `INVERSE_WEIGHT_CAP`]; beta is in reward units.

    Raises:
        ValueError: `beta > 0` does not hold, or a margin is not finite.
    """
    _check_beta(beta)
    exponent = np.maximum(-finite_array(reference_margin), 0.0) / beta
    return np.asarray(np.exp(np.minimum(exponent, math.log(INVERSE_WEIGHT_CAP))))


def effective_pairs(weights: ArrayLike) -> float:
    """Return Kish's effective number of pairs, (sum W)^2 / sum W^2, 0 for no weight at all.

    Raises:
        ValueError: A weight, shape (P,), is negative or not finite.
    """
    array = np.asarray(weights, dtype=np.float64)
    if not np.all(np.isfinite(array)) or np.any(array < 0):
        raise ValueError("Weights must be finite and non-negative, but got others.")
    largest = float(array.max(initial=0.0))
    if largest == 0.0:
        return 0.0
    scaled = array / largest  # keeps the squares of tiny weights above the smallest float
    return float(scaled.sum() ** 2 / np.square(scaled).sum())


def finite_array(reference_margin: ArrayLike) -> FloatArray:
    """Return the margins as float64, refusing NaN and infinities."""
    margin = np.asarray(reference_margin, dtype=np.float64)
    bad = int(np.count_nonzero(~np.isfinite(margin)))
    if bad:
        raise ValueError(f"Reference margins must be finite, but {bad} of {margin.size} are not.")
    return margin


def _check_beta(beta: float) -> None:
    if not beta > 0.0:  # also refuses NaN
        raise ValueError(f"`beta > 0` must hold, but got beta={beta}.")
