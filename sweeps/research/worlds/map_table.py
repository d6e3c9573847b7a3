"""The map in words: how many cells an arm wins or loses surely, by pairs and global model.

Cells have worlds of their own, so the interval of their mean follows from theirs: its half is
the root of the sum of their squared halves, divided by their number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from scpo.statistics.wording import format_difference
from sweeps.research.worlds.map_cells import USERS, MapRow


@dataclass(frozen=True)
class Region:
    """Cells of one comparison, variant, number of pairs and global model.

    Attributes:
        variant: As of `MapRow`.
        model: An arm.
        against: An arm, or "global".
        pairs: Labelled pairs.
        global_cosine: As of `WorldSettings`.
        measure: "truth" or "overall".
        num_above: Cells whose interval lies above 0.
        num_below: Cells whose interval lies below 0.
        num_cells: All cells.
        difference: Mean over the cells, in -1..1.
        low: Lower end of its 95 % interval; None where a cell has none.
        high: Upper end.
        retention: Mean share of pairs that tuned scpo keeps.
    """

    variant: str
    model: str
    against: str
    pairs: int
    global_cosine: float
    measure: str
    num_above: int
    num_below: int
    num_cells: int
    difference: float
    low: float | None
    high: float | None
    retention: float


def count_regions(rows: Sequence[MapRow], measure: str) -> list[Region]:
    """Return what each comparison found at each number of pairs and quality of global model.

    Args:
        rows: Of the map or of another study of cells with worlds of their own.
        measure: "truth" or "overall".
    """
    groups: dict[tuple[str, str, str, float, int], list[MapRow]] = {}
    for row in rows:
        if (row.tuning, row.measure) == (USERS, measure):
            key = (row.model, row.against, row.variant, -row.global_cosine, row.pairs)
            groups.setdefault(key, []).append(row)
    arms = list(dict.fromkeys(key[:2] for key in groups))
    return [
        _count_region(groups[key])
        for key in sorted(groups, key=lambda key: (arms.index(key[:2]), *key[2:]))
    ]


def regions_table(regions: Sequence[Region]) -> Table:
    """Return the regions as a table for the terminal, differences in points."""
    table = Table(title="Cells that an arm wins or loses surely", title_justify="left")
    table.add_column("comparison")
    table.add_column("variant")
    for name in ("global cosine", "pairs", "wins", "losses", "cells", "points", "kept"):
        table.add_column(name, justify="right")
    for region in regions:
        table.add_row(
            f"{region.model} - {region.against}",
            region.variant,
            f"{region.global_cosine:g}",
            f"{region.pairs:,}",
            str(region.num_above),
            str(region.num_below),
            str(region.num_cells),
            format_difference(region.difference, region.low, region.high),
            f"{100 * region.retention:.0f} %",
        )
    return table


def variants_table(rows: Sequence[MapRow], measure: str) -> Table:
    """Return the sensitivity study as a table for the terminal, differences in points."""
    shown = [row for row in rows if row.variant and row.measure == measure and row.tuning == USERS]
    compared = list(dict.fromkeys((row.model, row.against) for row in shown))
    table = Table(title="One cell with one thing changed", title_justify="left")
    table.add_column("changed")
    for model, against in compared:
        table.add_column(f"{model} - {against}", justify="right")
    for variant in dict.fromkeys(row.variant for row in shown):
        own = [row for row in shown if row.variant == variant]
        cells = [format_difference(row.difference, row.low, row.high) for row in own]
        table.add_row(variant, *cells)
    return table


def _count_region(rows: Sequence[MapRow]) -> Region:
    """Return the counts of the cells of one group."""
    first, num_cells = rows[0], len(rows)
    mean = sum(row.difference for row in rows) / num_cells
    halves = [
        (row.high - row.low) / 2 for row in rows if row.low is not None and row.high is not None
    ]
    half = math.hypot(*halves) / num_cells if len(halves) == num_cells else None
    return Region(
        first.variant,
        first.model,
        first.against,
        first.pairs,
        first.global_cosine,
        first.measure,
        sum(row.low is not None and row.low > 0 for row in rows),
        sum(row.high is not None and row.high < 0 for row in rows),
        num_cells,
        mean,
        None if half is None else mean - half,
        None if half is None else mean + half,
        sum(row.retention for row in rows) / num_cells,
    )
