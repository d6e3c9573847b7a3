"""Cells of a study: each is computed once, by one of several processes, and kept in a file.

A cell is a frozen dataclass of numbers and names; its result is anything that JSON holds. The
file holds the cell beside its result and a checksum of both, so that a folder of other settings
and a damaged file are refused, and an interrupted study resumes.
"""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch

from scpo.files.atomic import hash_values, write_json
from scpo.text.json_text import load_json
from sweeps.config import Say

CellT = TypeVar("CellT")
_NUM_LINES = 10  # of progress


def finish_cells(
    cells: Mapping[str, CellT],
    compute: Callable[[CellT], Any],
    folder: Path,
    say: Say,
    *,
    num_processes: int | None = None,
) -> dict[str, Any]:
    """Compute the cells that a folder lacks and return every cell's result, by name.

    Args:
        cells: Cells by name, which is also the name of the file.
        compute: A function of a module, called in other processes.
        folder: Where the files are.
        say: Called with a line of progress.
        num_processes: None for one a core; 1 computes in this one.

    Raises:
        ValueError: A file holds another cell than the one of its name, or is damaged.
    """
    missing = {name: cell for name, cell in cells.items() if not _is_done(folder, name, cell)}
    if len(missing) < len(cells):
        say(f"{len(cells) - len(missing)} of {len(cells)} cells are done already")
    cores = len(os.sched_getaffinity(0))
    workers = min(cores if num_processes is None else num_processes, len(missing))
    columns = ([compute] * len(missing), [folder] * len(missing), missing, missing.values())
    if workers <= 1:
        _report(map(_compute_cell, *columns), len(missing), say)
    else:
        spawn = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        with ProcessPoolExecutor(workers, spawn, torch.set_num_threads, (1,)) as pool:
            _report(pool.map(_compute_cell, *columns), len(missing), say)
    return {name: _read(folder, name)["result"] for name in cells}


def _compute_cell(compute: Callable[[CellT], Any], folder: Path, name: str, cell: CellT) -> None:
    held = _as_read({"cell": _values_of(cell), "result": compute(cell)})
    write_json(_file(folder, name), {**held, "sum": hash_values(held)[:16]})


def _report(done: Iterable[None], total: int, say: Say) -> None:
    """Say about ten times how many cells are done."""
    for number, _ in enumerate(done, 1):
        if number * _NUM_LINES // total > (number - 1) * _NUM_LINES // total:
            say(f"{number} of {total} cells")


def _is_done(folder: Path, name: str, cell: Any) -> bool:
    if not _file(folder, name).is_file():
        return False
    found = _read(folder, name)["cell"]
    wanted = _as_read(_values_of(cell))
    if found != wanted:
        raise ValueError(
            f"{_file(folder, name)} must hold the cell {wanted}, but holds {found}. "
            "Take another folder, or remove that file."
        )
    return True


def _values_of(cell: Any) -> dict[str, Any]:
    return asdict(cell)


def _as_read(values: Any) -> Any:
    """Return values as JSON reads them back: lists for tuples, names of keys for numbers."""
    return json.loads(json.dumps(values))


def _read(folder: Path, name: str) -> dict[str, Any]:
    """Return the cell and the result of a file; those of earlier versions have no checksum."""
    file = _file(folder, name)
    try:
        held = dict(load_json(file.read_bytes()))
        told = held.pop("sum", None)
        if {*held} != {"cell", "result"} or told not in (None, hash_values(held)[:16]):
            raise ValueError("its checksum is another")
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{file} has other bytes than were written ({error}). Remove it: the same command "
            "computes it again."
        ) from error
    return held


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"
