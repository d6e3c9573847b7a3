"""The shapes of a curve, error against the number of pairs, for many curves at once.

    power       error(n) = c + a (n / n_1)^-b,  a >= 0, 0.02 <= b <= 5, 0 <= c <= the least error
    log_linear  error(n) = c - a ln(n / n_1), not below 0,  a >= 0
    isotonic    the non-increasing steps nearest to the points, joined by lines over log2 n

n_1 is the smallest number of pairs, so that a is an error and not a number of 10^9. All minimise
sum w (error - fitted)^2, in closed form but for the exponent b.

Legend: P points, K sizes, R rows (curves), B exponents, n any numbers of pairs.

Reference:
    Meyer and Woodroofe, On the degrees of freedom in shape-restricted regression, 2000.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from scpo.arrays import FloatArray

Shape = Literal["power", "log_linear", "isotonic"]

NUM_PARAMETERS: dict[Shape, int] = {"power": 3, "log_linear": 2}
# At 5, twice the pairs leave a 32nd of the excess: faster cannot be told from the points.
EXPONENTS = np.geomspace(0.02, 5.0, 48)
_SAME_LEVEL = 1e-12


@dataclass(frozen=True)
class Merged:
    """How P points become K: sizes ascending, summed weights, and the matrix that averages."""

    sizes: FloatArray  # shape (K,)
    weights: FloatArray  # shape (K,): the points' weights, scaled to a mean of 1, summed
    average: FloatArray  # shape (K, P): average @ values averages points of one size by weight


def merge_sizes(pairs: FloatArray, weights: FloatArray) -> Merged:
    """Average points of one size, given pairs and positive weights of shape (P,)."""
    sizes, index = np.unique(pairs, return_inverse=True)
    total = np.bincount(index, weights=weights)
    average = (index == np.arange(len(sizes))[:, None]) * weights / total[:, None]
    return Merged(sizes, total / np.mean(weights), average)


def curve_errors(
    shape: Shape, parameters: FloatArray, sizes: FloatArray, at: FloatArray
) -> FloatArray:
    """Return the errors of R curves of one shape at numbers of pairs (n,), shape (R, n).

    `parameters` has a row for each curve, as in `CurveFit`; the curves come from `sizes`, (K,).
    """
    if shape == "power":
        c, a, b = parameters.T[:, :, None]
        return np.asarray(c + a * np.exp(-b * np.log(at / sizes[0])))
    if shape == "log_linear":
        c, a = parameters.T[:, :, None]
        return np.asarray(np.maximum(c - a * np.log(at / sizes[0]), 0.0))
    position = np.interp(np.log2(at), np.log2(sizes), np.arange(len(sizes)))
    left = np.minimum(position.astype(int), len(sizes) - 2)
    share = position - left
    return np.asarray((1 - share) * parameters[:, left] + share * parameters[:, left + 1])


def fit_rows(
    shape: Shape, sizes: FloatArray, errors: FloatArray, weights: FloatArray
) -> FloatArray:
    """Return the parameters of one shape for each of R rows, the exponent from a grid.

    `sizes` are distinct and ascending, shape (K,), as are `weights`; `errors` has shape (R, K).
    """
    if shape == "power":
        c, a, loss = fit_levels(EXPONENTS, sizes, errors, weights)
        best = np.argmin(loss, axis=1)
        row = np.arange(len(errors))
        return np.stack([c[row, best], a[row, best], EXPONENTS[best]], axis=1)
    if shape == "log_linear":
        return fit_lines(sizes, errors, weights)
    return fit_steps(errors, weights)


def fit_levels(
    exponents: FloatArray, sizes: FloatArray, errors: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the best c and a of power curves of known exponents, and their weighted RSS, (R, B).

    With b known the curve is linear, so the best point of the box is found in closed form: the
    loss at the best a is convex in c, hence c is the free optimum moved into its bounds.
    Exponents have shape (B,), the rest is as in `fit_rows`.
    """
    basis = (sizes / sizes[0]) ** -exponents[:, None]
    w, wx, wxx = weights.sum(), basis @ weights, basis**2 @ weights
    we = (errors @ weights)[:, None]
    wxe = (errors * weights) @ basis.T
    spread = np.maximum(w * wxx - wx**2, 1e-12)
    slope = (w * wxe - wx * we) / spread
    free = np.where(slope >= 0, (we - slope * wx) / w, we / w)
    c = np.clip(free, 0.0, np.maximum(errors.min(axis=1), 0.0)[:, None])
    a = np.maximum((wxe - c * wx) / wxx, 0.0)
    constant = (errors**2 @ weights)[:, None]
    loss = constant + c**2 * w + a**2 * wxx + 2 * a * c * wx - 2 * c * we - 2 * a * wxe
    return c, a, loss


def fit_lines(sizes: FloatArray, errors: FloatArray, weights: FloatArray) -> FloatArray:
    """Return c and a of the best log-linear curves, shape (R, 2); arguments as `fit_levels`."""
    x = np.log(sizes / sizes[0])
    share = weights / weights.sum()
    apart = x - share @ x
    a = np.maximum(-(errors @ (share * apart)) / (share @ apart**2), 0.0)
    return np.stack([errors @ share + a * (share @ x), a], axis=1)


def fit_steps(errors: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the non-increasing errors nearest to those of each row, shape (R, K).

    Level k is the min over i <= k of the max over j >= k of the mean of i..j by weight, (K,).

    Reference:
        Robertson, Wright and Dykstra, Order Restricted Statistical Inference, 1988.
    """
    num_sizes = len(weights)
    sums = np.concatenate(
        [np.zeros((len(errors), 1)), np.cumsum(errors * weights, axis=1)], axis=1
    )
    total = np.concatenate([[0.0], np.cumsum(weights)])
    best = np.full_like(errors, np.inf)
    for i in range(num_sizes):
        means = (sums[:, i + 1 :] - sums[:, [i]]) / (total[i + 1 :] - total[i])
        highest = np.maximum.accumulate(means[:, ::-1], axis=1)[:, ::-1]
        best[:, i:] = np.minimum(best[:, i:], highest)
    return best


def num_parameters(shape: Shape, parameters: FloatArray) -> FloatArray:
    """Return k of R curves: of isotonic ones the number of levels, shape (R,)."""
    if shape == "isotonic":
        return np.asarray(1.0 + (np.abs(np.diff(parameters, axis=1)) > _SAME_LEVEL).sum(axis=1))
    return np.full(len(parameters), float(NUM_PARAMETERS[shape]))
