"""The studies on synthetic worlds as commands: a size by name in, tables and paths out."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from rich.console import RenderableType

from sweeps.config import Say
from sweeps.research.worlds.map import SIZES, run_map
from sweeps.research.worlds.map_table import count_regions, regions_table
from sweeps.research.worlds.truth import NUM_SEEDS, WORLDS, run_truth, truth_table
from sweeps.research.worlds.truth_claims import paper_claims_table

T = TypeVar("T")


def show_truth(out: Path, size: str, say: Say, num_processes: int) -> list[RenderableType]:
    """Run the study of known truth, "small" or "large", and return what to print.

    Raises:
        ValueError: No such size, or the folder holds another study.
    """
    truth = run_truth(out, _of_size(NUM_SEEDS, size), say, num_processes=num_processes)
    tables = [truth_table(truth.rows, world) for world in WORLDS]
    written = f"Written: {out / 'truth.csv'}, {out / 'claims.csv'}"
    return [*tables, paper_claims_table(truth.claims), written]


def show_map(out: Path, size: str, say: Say, num_processes: int) -> list[RenderableType]:
    """Run the map of when SCPO pays, "small" or "large", and return what to print.

    Raises:
        ValueError: No such size, or the folder holds another study.
    """
    rows = run_map(out, _of_size(SIZES, size), say, num_processes=num_processes)
    files = ("map.csv", "again.csv", "map.svg", "map_overall.svg")
    written = f"Written: {', '.join(str(out / name) for name in files)}"
    return [regions_table(count_regions(rows, "truth")), written]


def _of_size(sizes: Mapping[str, T], size: str) -> T:
    if size not in sizes:
        raise ValueError(f"size must be of {', '.join(sizes)}, but got {size!r}.")
    return sizes[size]
