"""How many pairs a target takes, and the ratio of two arms' numbers, each with bounds.

A number that is only bounded stays an interval (low, high): (0, 64) for "64 or fewer",
(512, infinity) for "more than 512". Resamples bound their ratios in the same way, and the 95 %
interval runs from a quantile of their low ends to one of their high ends. Words keep a bound a
bound: "more than 512 pairs: never reached", never "512".
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from scpo.arrays import FloatArray
from scpo.statistics.bootstrap import widened_tail
from sweeps.curves.fitted_curves import Trace

Bounds = tuple[float, float]

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
    """Return what a target takes; without one, it is what `base` has with all its pairs.

    The users of `base`, the curve compared with, must be the same for a ratio. None is returned
    where neither a target nor a curve to take it from is given.
    """
    comparable = base is not None and own.line.users == base.line.users
    if target is None and (base is None or not comparable):
        return None
    other = base if base is not None and comparable else None
    pairs, paired, value = _reach(own.grid, own.curve, target, other, whole=True)
    ratio = _divide(paired, pairs)
    reached = Reached(value, _only(pairs), _only(ratio), None, None)
    if own.curves is None:
        return reached
    pairs, paired, _ = _reach(own.grid, own.curves, target, other, whole=False)
    low, high = _divide(paired, pairs)
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
    if low == high:
        middle = f"{low:.2f}"
    elif low == 0 and math.isinf(high):
        middle = "not known"
    else:
        middle = f"below {high:.2f}" if low == 0 else f"above {low:.2f}"
        if low > 0 and math.isfinite(high):
            middle = f"between {low:.2f} and {high:.2f}"
    ends = reached.ratio_ends
    if ends is None or (middle == "not known" and describe_ends(ends) == "no bound"):
        return middle
    return f"{middle} ({describe_ends(ends)})"


def describe_ends(ends: Bounds) -> str:
    """Return e.g. "1.10 to 2.90", "at least 1.10", "at most 2.90" or "no bound"."""
    low, high = ends
    if low > 0 and math.isfinite(high):
        return f"{low:.2f} to {high:.2f}"
    if low > 0:
        return f"at least {low:.2f}"
    return f"at most {high:.2f}" if math.isfinite(high) else "no bound"


def _reach(
    grid: FloatArray, curves: FloatArray, target: float | None, base: Trace | None, *, whole: bool
) -> tuple[tuple[FloatArray, FloatArray], tuple[FloatArray, FloatArray], float]:
    """Return bounds of the pairs of R curves and of the base's, and the target of the first."""
    compared = None if base is None else (base.curve if whole else base.curves)
    if target is not None:
        targets = np.full(len(curves), target)
    else:
        assert compared is not None  # no target: there is a base, with as many users
        targets = compared[:, -1]
    pairs = pairs_to_reach(grid, curves, targets)
    paired = np.zeros(len(curves)), np.full(len(curves), np.inf)
    if base is not None and compared is not None:
        paired = pairs_to_reach(base.grid, compared, targets)
    return pairs, paired, float(targets[0])


def _divide(
    above: tuple[FloatArray, FloatArray], below: tuple[FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    with np.errstate(divide="ignore"):
        return above[0] / below[1], above[1] / below[0]


def _only(bounds: tuple[FloatArray, FloatArray]) -> Bounds:
    return float(bounds[0][0]), float(bounds[1][0])
