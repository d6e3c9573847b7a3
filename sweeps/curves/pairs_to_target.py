"""How many pairs a target takes, and the ratio of two arms' numbers, each with bounds.

A number that is only bounded stays an interval (low, high): (0, 64) for "64 or fewer",
(512, infinity) for "more than 512". Resamples bound their ratios in the same way, and the 95 %
interval runs from a quantile of their low ends to one of their high ends. Words keep a bound a
bound: "more than 512 pairs: never reached", never "512".
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from scpo.arrays import FloatArray
from scpo.statistics.bootstrap import widened_tail
from sweeps.curves.fitted_curves import Trace

Bounds = tuple[float, float]
_Ends = tuple[FloatArray, FloatArray]  # the same of R curves, each (R,)

_CLOSE = 1e-9  # accuracies nearer than this are equal: a target is a point of its own curve


@dataclass(frozen=True)
class Reached:
    """How many pairs a target takes, and against another curve."""

    target: float  # an accuracy
    pairs: Bounds  # bounds of the pairs; equal where they are known
    ratio: Bounds  # bounds of pairs of the other curve / pairs of this one
    ratio_ends: Bounds | None  # ends of the 95 % interval of the ratio: 0 and infinity are no ends
    share_reached: float | None  # share of resamples that reach it; None with one user


def pairs_to_reach(
    grid: FloatArray, accuracy: FloatArray, target: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return (low, high), each (R,), numbers of pairs between which each curve reaches its target.

    Both ends are equal where it is reached within the grid. They are (0, the least pairs) where
    the first point is there already, and (the most pairs, infinity) where it is never reached.

    Args:
        grid: Numbers of pairs, ascending, shape (n,).
        accuracy: Curves that never fall, shape (R, n).
        target: Shape (R,).
    """
    num_below = (accuracy < target[:, None] - _CLOSE).sum(axis=1)
    row = np.arange(len(accuracy))
    after = np.clip(num_below, 1, len(grid) - 1)
    below, above = accuracy[row, after - 1], accuracy[row, after]
    share = np.divide(
        target - below, above - below, out=np.ones_like(target), where=above - below > _CLOSE
    )
    log = np.log2(grid)
    within = 2 ** (log[after - 1] + np.clip(share, 0, 1) * (log[after] - log[after - 1]))
    first, never = num_below == 0, num_below == len(grid)
    low = np.where(first, 0.0, np.where(never, grid[-1], within))
    high = np.where(first, grid[0], np.where(never, np.inf, within))
    return low, high


def reach_target(own: Trace, base: Trace | None, target: float | None) -> Reached | None:
    """Return what a target takes; without one, it is what `base` has at its end.

    The users of `base`, the curve compared with, must be the same for a ratio. None is returned
    where neither a target nor a curve to take it from is given.
    """
    if base is not None and own.line.users != base.line.users:
        base = None
    if target is None and base is None:
        return None
    pairs, ratio, value = _reach(own, base, target, "curve")
    reached = Reached(value, _only(pairs), _only(ratio), None, None)
    if own.curves is None:
        return reached
    pairs, (low, high), _ = _reach(own, base, target, "curves")
    tail = widened_tail(len(own.line.users))
    ends = (
        float(np.quantile(low, tail, method="lower")),
        float(np.quantile(high, 1 - tail, method="higher")),
    )
    return replace(reached, ratio_ends=ends, share_reached=float(np.isfinite(pairs[1]).mean()))


def describe_pairs(pairs: Bounds) -> str:
    """Return e.g. "310 pairs", "64 pairs or fewer" or "more than 512 pairs: never reached"."""
    low, high = pairs
    if math.isinf(high):
        return f"more than {low:,.0f} pairs: never reached"
    return f"{high:,.0f} pairs or fewer" if low == 0 else f"{high:,.0f} pairs"


def describe_ratio(reached: Reached) -> str:
    """Return e.g. "1.65 (1.10 to 2.90)", "below 0.84 (at most 1.20)" or "not known"."""
    low, high = reached.ratio
    words = ("between {:.2f} and {:.2f}", "above {:.2f}", "below {:.2f}", "not known")
    middle = f"{low:.2f}" if low == high else _describe_bounds(reached.ratio, *words)
    ends = reached.ratio_ends
    if ends is None or (middle == "not known" and describe_ends(ends) == "no bound"):
        return middle
    return f"{middle} ({describe_ends(ends)})"


def describe_ends(ends: Bounds) -> str:
    """Return e.g. "1.10 to 2.90", "at least 1.10", "at most 2.90" or "no bound"."""
    words = ("{:.2f} to {:.2f}", "at least {:.2f}", "at most {:.2f}", "no bound")
    return _describe_bounds(ends, *words)


def _describe_bounds(bounds: Bounds, both: str, least: str, most: str, neither: str) -> str:
    low, high = bounds
    if low > 0:
        return both.format(low, high) if math.isfinite(high) else least.format(low)
    return most.format(high) if math.isfinite(high) else neither


def _reach(
    own: Trace, base: Trace | None, target: float | None, curves: Literal["curve", "curves"]
) -> tuple[_Ends, _Ends, float]:
    """Return bounds of R curves' pairs and of their ratios to the base, and the first target."""
    accuracy: FloatArray = getattr(own, curves)
    compared: FloatArray = accuracy if base is None else getattr(base, curves)
    targets = compared[:, -1] if target is None else np.full(len(accuracy), target)
    pairs = pairs_to_reach(own.grid, accuracy, targets)
    low, high = np.zeros(len(accuracy)), np.full(len(accuracy), np.inf)
    if base is not None:
        low, high = pairs_to_reach(base.grid, compared, targets)
    with np.errstate(divide="ignore"):
        return pairs, (low / pairs[1], high / pairs[0]), float(targets[0])


def _only(bounds: _Ends) -> Bounds:
    return float(bounds[0][0]), float(bounds[1][0])
