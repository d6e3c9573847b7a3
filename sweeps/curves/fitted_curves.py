"""One arm's curve on one axis with those of its resamples, and the area under it.

In come lines of `resampled_lines`; out come the fit, its accuracies on a grid of numbers of
pairs, and areas with their intervals.

Legend: K sizes, n numbers of pairs on the grid, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scpo.arrays import FloatArray
from scpo.statistics.bootstrap import Interval, drawn_interval
from sweeps.curves.fits import CurveFit, fit_curve, refit_errors
from sweeps.curves.points import Axis, CurvePoint
from sweeps.curves.resampled_lines import CurveLine
from sweeps.curves.shapes import Merged, merge_sizes, num_parameters

_GRID_SIZE = 129


@dataclass(frozen=True)
class Trace:
    """A fitted curve, on one axis."""

    line: CurveLine
    sizes: FloatArray  # distinct numbers of pairs, ascending, shape (K,)
    accuracy: FloatArray  # accuracy at the sizes, shape (K,)
    drawn: FloatArray | None  # the same in each resample, shape (R, K); None with one user
    fit: CurveFit
    grid: FloatArray  # numbers of pairs from the fewest to the most, shape (n,)
    curve: FloatArray  # fitted accuracy on the grid, shape (1, n)
    curves: FloatArray | None  # the same in each resample, shape (R, n); None with one user


def trace_line(line: CurveLine, axis: Axis, drawn: FloatArray | None) -> Trace | None:
    """Fit one arm on one axis; None with fewer than two numbers of pairs.

    `drawn` are its resamples as `resample_line` returns them, or None.
    """
    means = line.trained if axis == "trained" else line.labelled
    totals = line.pairs.sum()
    each = line.correct.sum(axis=2) / totals  # (K, S), NaN where a budget lacks a seed
    budget, _ = np.nonzero(np.isfinite(each))
    errors, pairs = 1 - each[np.isfinite(each)], means[budget]
    weights = fit_weights(line.accuracy, float(totals))[budget]
    merged = merge_sizes(pairs, weights)
    if len(merged.sizes) < 2:
        return None
    fit = fit_curve(pairs, errors, weights)
    grid = pair_grid(merged.sizes)
    curve = 1 - fit.error_at(grid)[None, :]
    accuracy = 1 - merged.average @ errors
    if drawn is None:
        return Trace(line, merged.sizes, accuracy, None, fit, grid, curve, None)
    to_sizes = merged.average @ (budget[:, None] == np.arange(len(means)))
    apart = errors - (1 - accuracy)[np.searchsorted(merged.sizes, pairs)]
    scatter = float(weights / weights.mean() @ apart**2)
    at_sizes = drawn @ to_sizes.T
    if line.num_seeds.max() == 1:
        at_sizes = at_sizes + _order_noise(fit, merged, accuracy, len(drawn))
    at_sizes = np.clip(at_sizes, 0, 1)
    refitted = refit_errors(merged, 1 - at_sizes, scatter, len(pairs), grid)
    return Trace(line, merged.sizes, accuracy, at_sizes, fit, grid, curve, 1 - refitted)


def fit_weights(accuracy: FloatArray, num_pairs: float) -> FloatArray:
    """Return the weight of each point: 1 / (accuracy (1 - accuracy)), an inverse variance, (K,).

    Of `num_pairs` evaluated, an accuracy of 0 or 1 counts as one pair away from it.
    """
    away = 1 / max(num_pairs, 2)
    inside = np.clip(accuracy, away, 1 - away)
    return 1 / (inside * (1 - inside))


def pair_grid(sizes: FloatArray) -> FloatArray:
    """Return numbers of pairs from the least to the largest size, even on a log scale."""
    even = np.geomspace(sizes[0], sizes[-1], _GRID_SIZE)
    return np.unique(np.concatenate([even[1:-1], sizes]))


def area_under_curve(sizes: FloatArray, accuracy: FloatArray) -> FloatArray:
    """Return the mean accuracy over log2 pairs: the area under it by the range of log2 pairs.

    `sizes` are numbers of pairs, ascending, shape (K,), K >= 2; `accuracy` has shape (..., K), and
    the result (...).
    """
    log = np.log2(sizes)
    return np.asarray(np.trapezoid(accuracy, log, axis=-1) / (log[-1] - log[0]))


def area_interval(trace: Trace) -> Interval:
    """Return the area under a curve's points with its interval."""
    area = float(area_under_curve(trace.sizes, trace.accuracy))
    num_users = len(trace.line.users)
    if trace.drawn is None:
        return Interval(area, None, None, num_users)
    return drawn_interval(area, area_under_curve(trace.sizes, trace.drawn), num_users)


def area_gain(own: Trace, base: Trace | None) -> Interval:
    """Return by how much the area is above another's, if both span the same pairs.

    The value is None against itself, or against a curve of other users.
    """
    if (
        base is None
        or own is base
        or own.line.users != base.line.users
        or not np.allclose(own.sizes[[0, -1]], base.sizes[[0, -1]], rtol=1e-6)
    ):
        return Interval(None, None, None, 0)
    num_users = len(own.line.users)
    gain = area_under_curve(own.sizes, own.accuracy) - area_under_curve(base.sizes, base.accuracy)
    if own.drawn is None or base.drawn is None:
        return Interval(float(gain), None, None, num_users)
    drawn = area_under_curve(own.sizes, own.drawn) - area_under_curve(base.sizes, base.drawn)
    return drawn_interval(float(gain), drawn, num_users)


def layer_area(points: Sequence[CurvePoint], axis: Axis, layer: str) -> float | None:
    """Return the area under one arm's accuracy on distinctive or consensus pairs.

    `points` are those of the arm with seeds averaged; `layer` is the field of that name.
    """
    known = [point for point in points if getattr(point, layer).value is not None]
    pairs = np.array([getattr(point, f"pairs_{axis}") for point in known])
    if len(np.unique(pairs)) < 2:
        return None
    merged = merge_sizes(pairs, np.ones(len(known)))
    accuracy = merged.average @ np.array([getattr(point, layer).value for point in known])
    return float(area_under_curve(merged.sizes, accuracy))


def _order_noise(
    fit: CurveFit, merged: Merged, accuracy: FloatArray, num_resamples: int
) -> FloatArray:
    """Return what another order of the pairs might add to points of one seed, shape (R, K).

    One seed cannot show it, but the scatter about the curve does, where there are two points
    more than parameters. With fewer nothing is added, and the interval knows users only.
    """
    parameters = num_parameters(fit.shape, np.asarray([fit.parameters]))[0]
    spare = len(merged.sizes) - int(parameters)
    shape = (num_resamples, len(merged.sizes))
    if spare < 2:
        return np.zeros(shape)
    residual = 1 - fit.error_at(merged.sizes) - accuracy
    variance = merged.weights @ residual**2 / spare / merged.weights
    return np.sqrt(variance) * np.random.default_rng(spare).normal(size=shape)
