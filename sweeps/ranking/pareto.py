"""Pareto front, hypervolume and knee of a table of objective values.

In come values of shape (N, M), one row per trial, and a direction per column. Directions become
costs (smaller is better) in `as_costs` and nowhere else. A point is on the front when no other
point is at least as good everywhere and better somewhere, so equal points stay together.
"""

from collections.abc import Sequence
from typing import Literal

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

Direction = Literal["maximize", "minimize"]


def as_costs(values: ArrayLike, directions: Sequence[Direction]) -> NDArray[np.float64]:
    """Return the values as costs, shape (N, M): columns to maximise are negated.

    Args:
        values: Shape (N, M), no NaN; N may be 0.
        directions: One direction per column.

    Raises:
        ValueError: Shape and directions disagree, a direction is unknown, or a value is NaN.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != len(directions):
        raise ValueError(
            f"values must have shape (N, {len(directions)}), a column for each direction, "
            f"but got {array.shape}."
        )
    signs = []
    for direction in directions:
        if direction not in ("maximize", "minimize"):
            raise ValueError(
                f"A direction must be 'maximize' or 'minimize', but got {direction!r}."
            )
        signs.append(-1.0 if direction == "maximize" else 1.0)
    if np.isnan(array).any():
        row = int(np.flatnonzero(np.isnan(array).any(axis=1))[0])
        raise ValueError(f"Objective values must not be NaN, but row {row} is. Leave it out.")
    return array * np.asarray(signs)


def pareto_front(values: ArrayLike, directions: Sequence[Direction]) -> NDArray[np.bool_]:
    """Return which rows no other row dominates, shape (N,); duplicates of a front row all stay.

    Args:
        values: Shape (N, M), no NaN; N may be 0.
        directions: One direction per column.

    Raises:
        ValueError: As `as_costs`.
    """
    costs = as_costs(values, directions)
    front = np.ones(len(costs), dtype=np.bool_)
    for row, cost in enumerate(costs):
        dominates = (costs <= cost).all(axis=1) & (costs < cost).any(axis=1)
        front[row] = not dominates.any()
    return front


def hypervolume(
    values: ArrayLike, directions: Sequence[Direction], reference: Sequence[float]
) -> float:
    """Return the volume that the points dominate, up to a reference point; exact.

    Args:
        values: Shape (N, M), no NaN; N may be 0. Points not better than the reference in every
            objective add nothing.
        directions: One direction per column.
        reference: Shape (M,), a point worse than what counts, in the units of the values.

    Returns:
        The volume (an area of two objectives), at least 0, in the product of their units.

    Raises:
        ValueError: As `as_costs`.
    """
    costs = as_costs(values, directions)
    worst = as_costs([list(reference)], directions)[0]
    return float(moocore.hypervolume(costs, ref=worst))


def find_knee(values: ArrayLike, directions: Sequence[Direction]) -> int | None:
    """Return the row where the front of two objectives bends most; None where none does.

    Both objectives are scaled to 0..1 over the front. The knee is the point of the front that
    lies farthest from the straight line between the front's two ends, on the better side of it:
    with costs a and b in 0..1, the largest 1 - a - b above 0. Of equal ones the first row.

    Args:
        values: Shape (N, 2), no NaN; N may be 0. Rows off the front are never the knee.
        directions: The two directions.

    Raises:
        ValueError: As `as_costs`, or there are not two objectives.

    Reference:
        Das, On characterizing the "knee" of the Pareto curve based on Normal-Boundary
        Intersection, Structural Optimization 18 (1999); for two objectives.
    """
    if len(directions) != 2:
        raise ValueError(f"Two objectives must be given, but got {len(directions)}.")
    costs = as_costs(values, directions)
    rows = np.flatnonzero(pareto_front(values, directions))
    if len(rows) == 0:
        return None
    front = costs[rows]
    spread = np.ptp(front, axis=0)
    if not spread.all():  # one point, or copies of it
        return None
    bend = 1.0 - ((front - front.min(axis=0)) / spread).sum(axis=1)
    best = int(np.argmax(bend))
    return int(rows[best]) if bend[best] > 1e-9 else None
