"""The map as tables: in how many cells an arm is significantly better or worse.

Cells have worlds of their own, so the interval of their mean follows from theirs: its half is
the root of the sum of their squared halves, divided by their number.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from rich.table import Table

from scpo.statistics.bootstrap import Interval
from scpo.statistics.wording import format_difference
from scpo.text.terminal_table import terminal_table
from sweeps.research.worlds.map_cells import MapRow


class Region(NamedTuple):
    """Cells of one comparison, variant, number of pairs and global model."""

    mean: MapRow  # what they share, with the mean of their differences and of retention
    num_above: int  # cells whose interval lies above 0
    num_below: int
    num_cells: int


def count_regions(rows: Sequence[MapRow], measure: str) -> list[Region]:
    """Return what each comparison found at each number of pairs and quality of global model.

    `measure` is "truth" or "overall"; each cell must have worlds of its own.
    """
    groups: dict[tuple[str, str, str, float, int], list[MapRow]] = {}
    for row in rows:
        if row.measure == measure:
            key = (row.model, row.against, row.variant, -row.global_cosine, row.pairs)
            groups.setdefault(key, []).append(row)
    arms = list(dict.fromkeys(key[:2] for key in groups))
    return [
        _count_region(groups[key])
        for key in sorted(groups, key=lambda key: (arms.index(key[:2]), *key[2:]))
    ]


def regions_table(regions: Sequence[Region]) -> Table:
    """Return the regions as a table for the terminal, differences in points."""
    left = ("comparison", "variant")
    columns = ("global cosine", "pairs", "wins", "losses", "cells", "points", "kept")
    lines = [
        (
            f"{row.model} - {row.against}",
            row.variant,
            f"{row.global_cosine:g}",
            f"{row.pairs:,}",
            *counts,
            format_difference(row.difference),
            f"{100 * row.retention:.0f} %",
        )
        for row, *counts in regions
    ]
    title = "Cells in which an arm is significantly better or worse"
    return terminal_table(title, (*left, *columns), [lines], left=left)


def _count_region(rows: Sequence[MapRow]) -> Region:
    num_cells = len(rows)
    found = [row.difference for row in rows]
    mean = sum(each.value or 0.0 for each in found) / num_cells
    ends = [(each.low, each.high) for each in found if each.low is not None is not each.high]
    low = high = None
    if len(ends) == num_cells:
        half = math.hypot(*((high - low) / 2 for low, high in ends)) / num_cells
        low, high = mean - half, mean + half
    difference = Interval(mean, low, high, sum(each.users for each in found))
    retention = sum(row.retention for row in rows) / num_cells
    signs = [each.sign for each in found]
    row = replace(rows[0], difference=difference, retention=retention)
    return Region(row, signs.count(1), signs.count(-1), num_cells)
