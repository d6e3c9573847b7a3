"""The curve through one arm's points, its shape chosen by AICc.

In come numbers of pairs and errors, with every seed a point of its own; out comes one of the
shapes of `shapes`. A formula needs two points more than parameters and one size more; isotonic,
whose parameters are its levels, stands in where there are fewer or where no formula fits as well.

Reference:
    Viering and Loog, The Shape of Learning Curves: a Review, 2021 (no universal form).
    Hurvich and Tsai, Regression and time series model selection in small samples, 1989 (AICc).
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from scpo.arrays import FloatArray
from scpo.text.counts import format_number
from sweeps.curves.shapes import (
    EXPONENTS,
    NUM_PARAMETERS,
    Merged,
    Shape,
    curve_errors,
    fit_levels,
    fit_rows,
    merge_sizes,
    num_parameters,
)

_LEAST_RSS = 1e-20  # below it residuals are rounding, and say nothing about the shape


@dataclass(frozen=True)
class CurveFit:
    """A fitted curve."""

    shape: Shape
    parameters: tuple[float, ...]  # c, a, b of power; c, a of log_linear; K errors of isotonic
    sizes: tuple[float, ...]  # the K numbers of pairs it comes from, ascending
    aicc: float  # what the shape was chosen by; infinite with too few points to tell

    def error_at(self, pairs: ArrayLike) -> FloatArray:
        """Return the fitted error at numbers of pairs, of their shape.

        Isotonic says nothing outside its points, so there it stays at the nearest one.
        """
        values = np.asarray([self.parameters])
        at = np.asarray(pairs, dtype=np.float64)
        sizes = np.asarray(self.sizes)
        return curve_errors(self.shape, values, sizes, at.ravel()).reshape(at.shape)


def fit_curve(pairs: ArrayLike, error: ArrayLike, weights: ArrayLike | None = None) -> CurveFit:
    """Return the curve of least AICc through one arm's points.

    `pairs` are positive; several points of one size, such as seeds, show the scatter. `error` is
    1 - accuracy, 0..1, and `weights` such as inverse variances, None: equal. All have shape (P,).

    Raises:
        ValueError: Shapes differ, a value is out of range, or there are no two sizes.
    """
    at, errors = np.asarray(pairs, dtype=np.float64), np.asarray(error, dtype=np.float64)
    given = np.ones_like(at) if weights is None else np.asarray(weights, dtype=np.float64)
    _check(at, errors, given)
    merged = merge_sizes(at, given)
    means = merged.average @ errors
    fits = []
    for shape in possible_shapes(len(at), len(merged.sizes)):
        fit = _fit_power if shape == "power" else partial(fit_rows, shape)
        parameters = np.ravel(fit(merged.sizes, means[None, :], merged.weights))
        fitted = curve_errors(shape, parameters[None, :], merged.sizes, at)[0]
        residual = float(np.sum(given / given.mean() * (errors - fitted) ** 2))
        aicc = float(akaike(residual, len(at), num_parameters(shape, parameters[None, :]))[0])
        fits.append(
            CurveFit(shape, tuple(parameters.tolist()), tuple(merged.sizes.tolist()), aicc)
        )
    return min(fits, key=lambda fit: fit.aicc)


def describe_fit(fit: CurveFit) -> str:
    """Return the formula of a fitted curve, n being the number of pairs."""
    least = format_number(fit.sizes[0])
    if fit.shape == "power":
        c, a, b = fit.parameters
        return f"error = {c:.4f} + {a:.4f} (n / {least})^-{b:.3f}"
    if fit.shape == "log_linear":
        c, a = fit.parameters
        return f"error = {c:.4f} - {a:.4f} ln(n / {least})"
    return f"isotonic over {len(fit.sizes)} sizes"


def refit_errors(
    merged: Merged, errors: FloatArray, scatter: float, num_points: int, at: FloatArray
) -> FloatArray:
    """Return the errors at `at`, shape (n,), of the curve fitted to each resample, shape (R, n).

    The shape is chosen anew by each resample, so that not knowing it is part of the spread.
    `errors` are means at each size, shape (R, K); `scatter` is the weighted sum of squares of the
    P points, every seed one, about the means of their sizes.
    """
    sizes, weights = merged.sizes, merged.weights
    best = np.full(len(errors), np.inf)
    fitted = np.empty((len(errors), len(at)))
    for shape in reversed(possible_shapes(num_points, len(sizes))):
        parameters = fit_rows(shape, sizes, errors, weights)
        residual = curve_errors(shape, parameters, sizes, sizes) - errors
        rss = residual**2 @ weights + scatter
        aicc = akaike(rss, num_points, num_parameters(shape, parameters))
        better = (aicc < best) | (shape == "isotonic")
        fitted[better] = curve_errors(shape, parameters[better], sizes, at)
        best[better] = aicc[better]
    return fitted


def possible_shapes(num_points: int, num_sizes: int) -> list[Shape]:
    """Return the shapes that P points of K sizes can tell apart from noise; isotonic always."""
    formulas: list[Shape] = [
        shape
        for shape, needed in NUM_PARAMETERS.items()
        if num_points >= needed + 2 and num_sizes > needed
    ]
    return [*formulas, "isotonic"]


def akaike(residual: ArrayLike, num_points: int, parameters: ArrayLike) -> FloatArray:
    """Return AICc = P ln(RSS / P) + 2 k + 2 k (k + 1) / (P - k - 1); infinite without P > k + 1.

    `residual` is RSS, the weighted sum of squared residuals, weights of mean 1, of any shape;
    `parameters` is k, the number of the curve's parameters, of the same shape or one number.
    """
    k = np.asarray(parameters, dtype=np.float64)
    spare = num_points - k - 1
    penalty = np.where(spare > 0, 2 * k + 2 * k * (k + 1) / np.maximum(spare, 1), np.inf)
    rss = np.maximum(np.asarray(residual, dtype=np.float64), _LEAST_RSS)
    return np.atleast_1d(num_points * np.log(rss / num_points) + penalty)


def _fit_power(sizes: FloatArray, errors: FloatArray, weights: FloatArray) -> FloatArray:
    """Return c, a, b of the best power curve: b from a grid, then between its neighbours there."""

    def levels(exponents: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        return fit_levels(exponents, sizes, errors, weights)

    best = int(np.argmin(levels(EXPONENTS)[2]))
    around = EXPONENTS[max(best - 1, 0)], EXPONENTS[min(best + 1, len(EXPONENTS) - 1)]
    found = minimize_scalar(
        lambda b: levels(np.array([b]))[2][0, 0],
        bounds=around,
        method="bounded",
        options={"xatol": 1e-9},
    )
    c, a, _ = levels(np.array([found.x]))
    return np.array([c[0, 0], a[0, 0], found.x])


def _check(pairs: FloatArray, error: FloatArray, weights: FloatArray) -> None:
    if not pairs.shape == error.shape == weights.shape or pairs.ndim != 1:
        raise ValueError(
            "pairs, error and weights must have one shape (P,), but got "
            f"{pairs.shape}, {error.shape} and {weights.shape}."
        )
    if not (np.all(pairs > 0) and np.all(weights > 0) and np.all((error >= 0) & (error <= 1))):
        raise ValueError(
            "`pairs > 0`, `weights > 0` and `0 <= error <= 1` must hold for every point, but got "
            f"pairs={pairs.tolist()}, weights={weights.tolist()}, error={error.tolist()}."
        )
    if len(np.unique(pairs)) < 2:
        raise ValueError(f"A curve needs two sizes, but got pairs={pairs.tolist()}.")
