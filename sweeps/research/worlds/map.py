"""The map of when SCPO pays: cells of worlds, CSV and figures.

The map spans cultural shift, outlier share, labelled pairs and the global model's quality; each
cell is computed by `compute_map_cell` and kept in a file.
"""

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from scpo.files.csv_files import write_csv
from scpo.files.figure_style import save_figure
from sweeps.config import Say
from sweeps.lanes.cells import finish_cells
from sweeps.research.worlds.map_cells import MapCell, MapRow, cell_rows, compute_map_cell
from sweeps.research.worlds.map_figure import map_figure
from sweeps.research.worlds.world_arms import Tuning
from sweeps.research.worlds.worlds import WorldSettings, columns_of

FRESH = "fresh worlds"
FIRST_FRESH_SEED = 1_000_000  # beyond the seeds of any map
SEEDS_APART = 1000  # of neighbouring cells; more than any cell has worlds


@dataclass(frozen=True)
class MapAxes:
    """Values of the map's axes, and how much work a cell is."""

    shifts: tuple[float, ...]
    outlier_shares: tuple[float, ...]
    num_users: tuple[int, ...]  # 12 pairs each
    global_cosines: tuple[float, ...]  # of the global head to the consensus
    num_worlds: int  # of each cell
    tuning: Tuning


SIZES = {
    "small": MapAxes((0.0, 1.0), (0.0, 0.3), (8, 24), (1.0,), 8, Tuning(num_settings=16)),
    "large": MapAxes(
        shifts=(0.0, 0.25, 0.5, 0.75, 1.0, 1.5),
        outlier_shares=(0.0, 0.1, 0.2, 0.3, 0.4),
        num_users=(8, 24, 72, 216),
        global_cosines=(0.6, 0.8, 1.0),
        num_worlds=12,
        tuning=Tuning(),
    ),
}


def map_cells(axes: MapAxes) -> dict[str, MapCell]:
    """Return the cells of the map by name, in the order of its axes."""
    points = product(axes.global_cosines, axes.num_users, axes.outlier_shares, axes.shifts)
    return {
        f"cosine{cosine:g}-users{users}-outliers{share:g}-shift{shift:g}": MapCell(
            WorldSettings(num_users=users, shift=shift, outlier_share=share, global_cosine=cosine),
            axes.tuning,
            axes.num_worlds,
            number * SEEDS_APART,
        )
        for number, (cosine, users, share, shift) in enumerate(points)
    }


def again_cells(axes: MapAxes) -> dict[str, MapCell]:
    """Return the cells of the region where the large map says that scpo pays, on fresh worlds.

    The region was chosen by looking at that map: on the map's own worlds it is biased upwards.
    """
    return {
        f"again-{name}": replace(cell, first_seed=cell.first_seed + FIRST_FRESH_SEED)
        for name, cell in map_cells(axes).items()
        if cell.world.global_cosine == 1.0
        and cell.world.outlier_share >= 0.3
        and 0.5 <= cell.world.shift <= 1.0
        and cell.world.num_pairs >= 288
    }


def run_map(
    out: Path, axes: MapAxes, say: Say, *, num_processes: int | None = None
) -> list[MapRow]:
    """Compute the map; write CSV files and figures.

    `map.csv` and `again.csv` (the region where it pays, on fresh worlds) hold every comparison,
    `map.svg` and `map.png` show typical users for the middle quality of the global model,
    `map_overall.*` all test users. The other qualities have theirs with the cosine in percent.
    Cells that `out`/cells holds are not computed again.

    Returns:
        Rows of both; `variant` is "" in the map, or FRESH.

    Raises:
        ValueError: The folder holds cells of other axes or settings.
    """
    named = [(name, "", cell) for name, cell in map_cells(axes).items()]
    named += [(name, FRESH, cell) for name, cell in again_cells(axes).items()]
    cells = {name: cell for name, _, cell in named}
    results = finish_cells(
        cells, compute_map_cell, out / "cells", say, num_processes=num_processes
    )
    rows = [
        row
        for name, variant, cell in named
        for row in cell_rows(cell, results[name], variant=variant)
    ]
    of_map = [row for row in rows if row.variant == ""]
    again = [row for row in rows if row.variant == FRESH]
    for name, table in (("map.csv", of_map), ("again.csv", again)):
        write_csv(list(columns_of(rows[0])), [columns_of(row) for row in table], out / name)
    middle = axes.global_cosines[len(axes.global_cosines) // 2]
    for cosine in axes.global_cosines:
        end = "" if cosine == middle else f"_cosine{100 * cosine:.0f}"  # a dot would end the name
        save_figure(map_figure(of_map, "truth", cosine), out / f"map{end}")
        save_figure(map_figure(of_map, "overall", cosine), out / f"map_overall{end}")
    return rows
