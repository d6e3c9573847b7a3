"""Cells of a study: each is computed once, by any of several processes, and kept in a file.

A cell is a frozen dataclass of numbers and names; its result is anything that JSON holds. The
file carries the cell beside its result, so that a folder of other settings is refused and a
study that was cut off goes on where it ended.
"""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import repeat
from pathlib import Path
from typing import Any, TypeVar

import torch

from scpo.files.atomic import write_json
from sweeps.config import Say

CellT = TypeVar("CellT")
TOLD = 10  # parts of the work after which progress is told


def finish_cells(
    cells: Mapping[str, CellT],
    compute: Callable[[CellT], Any],
    folder: Path,
    say: Say,
    *,
    num_processes: int | None = None,
) -> dict[str, Any]:
    """Compute what the folder lacks and return every cell's result, by name.

    Args:
        cells: Cells by name, which is also the name of the file.
        compute: A function of a module, called in other processes.
        folder: Where the files lie or come to lie.
        say: Called with a line of progress.
        num_processes: Processes; none: one a core; 1 computes in this one.

    Raises:
        ValueError: A file holds another cell than the one of its name.
    """
    missing = [name for name, cell in cells.items() if not _is_done(folder, name, cell)]
    if len(missing) < len(cells):
        say(f"{len(cells) - len(missing)} of {len(cells)} cells are done already")
    for number, _ in enumerate(_compute_each(cells, missing, compute, folder, num_processes), 1):
        if number * TOLD // len(missing) > (number - 1) * TOLD // len(missing):
            say(f"{number} of {len(missing)} cells")
    return {name: _read(folder, name)["result"] for name in cells}


def _compute_each(
    cells: Mapping[str, CellT],
    missing: list[str],
    compute: Callable[[CellT], Any],
    folder: Path,
    num_processes: int | None,
) -> Iterator[None]:
    """Yield after each cell that came to lie in the folder."""
    work = [cells[name] for name in missing]
    wanted = len(os.sched_getaffinity(0)) if num_processes is None else num_processes
    if min(wanted, len(work)) <= 1:
        yield from map(_keep, repeat(compute), repeat(folder), missing, work)
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(min(wanted, len(work)), context, torch.set_num_threads, (1,)) as pool:
        yield from pool.map(_keep, repeat(compute), repeat(folder), missing, work)


def _keep(compute: Callable[[CellT], Any], folder: Path, name: str, cell: CellT) -> None:
    """Compute one cell and write its file."""
    write_json(_file(folder, name), {"cell": _as_json(cell), "result": compute(cell)})


def _is_done(folder: Path, name: str, cell: Any) -> bool:
    """Tell whether a cell's file is there, refusing one of another cell."""
    if not _file(folder, name).is_file():
        return False
    found = _read(folder, name)["cell"]
    if found != _as_json(cell):
        raise ValueError(
            f"{_file(folder, name)} must hold the cell {_as_json(cell)}, but holds {found}. "
            "Take another folder, or remove that file."
        )
    return True


def _as_json(cell: Any) -> Any:
    """Return a cell as it reads back from a file."""
    return json.loads(json.dumps(asdict(cell)))


def _read(folder: Path, name: str) -> Any:
    """Return what a cell's file holds."""
    return json.loads(_file(folder, name).read_text(encoding="utf-8"))


def _file(folder: Path, name: str) -> Path:
    """Return the file of a cell."""
    return folder / f"{name}.json"
