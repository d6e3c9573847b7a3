"""Pareto front, hypervolume and knee of accuracy (up) against pairs trained (down).

In come values of shape (N, 2), a row a trial: accuracy, and what it costs. A point is on the
front when no other point is at least as good in both and better in one, so equal points stay
together.
"""

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

MAXIMISED = (True, False)


def pareto_front(values: ArrayLike) -> NDArray[np.bool_]:
    """Return which rows no other row dominates, shape (N,); duplicates of a front row all stay.

    Raises:
        ValueError: Values are not of shape (N, 2), N >= 0, or one is NaN.
    """
    points = _checked(values)
    if len(points) == 0:
        return np.zeros(0, dtype=np.bool_)
    front = moocore.is_nondominated(points, maximise=MAXIMISED, keep_weakly=True)
    return np.asarray(front, dtype=np.bool_)


def hypervolume(values: ArrayLike, reference: tuple[float, float]) -> float:
    """Return the area that the points dominate up to a reference point, in the units' product.

    Points not better than the reference in both columns add nothing.

    Raises:
        ValueError: As `pareto_front`.
    """
    return float(moocore.hypervolume(_checked(values), ref=reference, maximise=MAXIMISED))


def find_knee(values: ArrayLike) -> int | None:
    """Return the row where the front bends most; None where it does not.

    Both columns are scaled to costs a and b in 0..1 over the front. The knee is the point of the
    front that lies farthest from the straight line between the front's two ends, on the better
    side of it: the largest 1 - a - b above 0. Of equal ones the first row.

    Raises:
        ValueError: As `pareto_front`.

    Reference:
        Das, On characterizing the "knee" of the Pareto curve based on Normal-Boundary
        Intersection, Structural Optimization 18 (1999); for two objectives.
    """
    rows = np.flatnonzero(pareto_front(values))
    if len(rows) == 0:
        return None
    front = _checked(values)[rows] * np.where(MAXIMISED, -1.0, 1.0)
    spread = np.ptp(front, axis=0)
    if not spread.all():  # one point, or copies of it
        return None
    bend = 1.0 - ((front - front.min(axis=0)) / spread).sum(axis=1)
    best = int(np.argmax(bend))
    return int(rows[best]) if bend[best] > 1e-9 else None


def _checked(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"values must have shape (N, 2), but got {array.shape}.")
    if np.isnan(array).any():
        row = int(np.flatnonzero(np.isnan(array).any(axis=1))[0])
        raise ValueError(f"Objective values must not be NaN, but row {row} is. Leave it out.")
    return array
