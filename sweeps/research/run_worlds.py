"""The studies on synthetic worlds as commands: a size by name in, tables and paths out."""

from pathlib import Path

from rich.console import RenderableType

from sweeps.config import Say
from sweeps.research.worlds.map import SIZES, run_map
from sweeps.research.worlds.map_table import count_regions, regions_table
from sweeps.research.worlds.truth import NUM_SEEDS, WORLDS, run_truth, truth_table
from sweeps.research.worlds.truth_claims import paper_claims_table


def show_truth(out: Path, size: str, say: Say, num_processes: int) -> list[RenderableType]:
    """Run the study of known truth, "small" or "large", and return what to print.

    Raises:
        ValueError: No such size, or the folder holds another study.
    """
    _check_size(size)
    truth = run_truth(out, NUM_SEEDS[size], say, num_processes=num_processes)
    tables = [truth_table(truth.rows, world) for world in WORLDS]
    return [*tables, paper_claims_table(truth.claims), _list_files(out, "truth.csv", "claims.csv")]


def show_map(out: Path, size: str, say: Say, num_processes: int) -> list[RenderableType]:
    """Run the map of when SCPO pays, "small" or "large", and return what to print.

    Raises:
        ValueError: No such size, or the folder holds another study.
    """
    _check_size(size)
    rows = run_map(out, SIZES[size], say, num_processes=num_processes)
    return [
        regions_table(count_regions(rows, "truth")),
        _list_files(out, "map.csv", "again.csv", "map.svg", "map_overall.svg"),
    ]


def _check_size(size: str) -> None:
    if size not in SIZES:
        raise ValueError(f"size must be of {', '.join(SIZES)}, but got {size!r}.")


def _list_files(out: Path, *names: str) -> str:
    return f"Written: {', '.join(str(out / name) for name in names)}"
