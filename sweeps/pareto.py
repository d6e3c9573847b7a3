"""Pareto front and hypervolume of a table of objective values.

In come values of shape (N, M), one row per trial, and a direction per column. Directions become
costs (smaller is better) in `as_costs` and nowhere else. A point is on the front when no other
point is at least as good everywhere and better somewhere, so equal points stay together.
"""

from collections.abc import Sequence
from typing import Literal

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


def hypervolume_2d(
    values: ArrayLike, directions: Sequence[Direction], reference: Sequence[float]
) -> float:
    """Return the area that two objectives dominate, up to a reference point; exact.

    Args:
        values: Shape (N, 2), no NaN; N may be 0. Points not better than the reference in both
            objectives add nothing.
        directions: The two directions.
        reference: A point worse than what counts, in the units of the values.

    Returns:
        The area, at least 0.

    Raises:
        ValueError: As `as_costs`, or there are not two objectives.
    """
    if len(directions) != 2:
        raise ValueError(f"Two objectives must be given, but got {len(directions)}.")
    costs = as_costs(values, directions)
    right, top = as_costs([list(reference)], directions)[0]
    inside = costs[(costs[:, 0] < right) & (costs[:, 1] < top)]
    area = 0.0
    for first, second in inside[np.lexsort((inside[:, 1], inside[:, 0]))]:
        if second < top:  # a strip of the staircase, from this point to the reference
            area += (right - first) * (top - second)
            top = second
    return float(area)
