"""Cells are computed once: what a cut-off study left is not computed again."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from scpo.statistics.bootstrap import Interval
from sweeps.lanes.cells import finish_cells
from sweeps.research.worlds.worlds import mean_interval


@dataclass(frozen=True)
class Cell:
    number: int
    names: tuple[str, ...] = ("a",)


CELLS = {f"cell-{number}": Cell(number) for number in range(5)}


def square(cell: Cell) -> list[int]:
    return [cell.number**2]


class Stops:
    """Computes squares, and is cut off at one cell."""

    def __init__(self, at: int | None) -> None:
        self.at = at
        self.seen: list[int] = []

    def __call__(self, cell: Cell) -> list[int]:
        if cell.number == self.at:
            raise KeyboardInterrupt
        self.seen.append(cell.number)
        return square(cell)


def test_a_study_that_was_cut_off_repeats_nothing(tmp_path) -> None:
    first, said = Stops(at=3), []
    with pytest.raises(KeyboardInterrupt):
        finish_cells(CELLS, first, tmp_path, said.append, num_processes=1)
    again = Stops(at=None)
    results = finish_cells(CELLS, again, tmp_path, said.append, num_processes=1)
    assert (first.seen, again.seen) == ([0, 1, 2], [3, 4])
    assert results == {f"cell-{number}": [number**2] for number in range(5)}
    assert "3 of 5 cells are done already" in said
    last = Stops(at=None)
    assert finish_cells(CELLS, last, tmp_path, said.append, num_processes=1) == results
    assert last.seen == []


def test_a_half_written_file_does_not_count(tmp_path) -> None:
    finish_cells(CELLS, square, tmp_path, print, num_processes=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}.json" for name in CELLS]
    held = json.loads((tmp_path / "cell-2.json").read_text())
    assert len(held.pop("sum")) == 16
    assert held == {"cell": {"number": 2, "names": ["a"]}, "result": [4]}


def test_a_flipped_bit_of_a_cell_is_refused_by_name(tmp_path) -> None:
    finish_cells(CELLS, square, tmp_path, print, num_processes=1)
    file = tmp_path / "cell-2.json"
    sound = file.read_bytes()
    for position in range(len(sound) - 1):  # the last one is a line's end
        content = bytearray(sound)
        content[position] ^= 1 << position % 7
        file.write_bytes(content)
        if json_of(content) == json_of(sound):
            continue
        with pytest.raises(ValueError, match=r"cell-2\.json"):
            finish_cells(CELLS, square, tmp_path, print, num_processes=1)


def test_a_cell_of_an_earlier_version_is_read(tmp_path) -> None:
    (tmp_path / "cell-2.json").write_text('{"cell": {"number": 2, "names": ["a"]}, "result": [9]}')
    results = finish_cells(CELLS, square, tmp_path, print, num_processes=1)
    assert results["cell-2"] == [9]


def json_of(content: bytes) -> object:
    """Return what a file holds; a space may become another kind of space."""
    try:
        return json.loads(content)
    except ValueError:
        return None


def test_a_folder_of_other_settings_is_refused(tmp_path) -> None:
    finish_cells(CELLS, square, tmp_path, print, num_processes=1)
    other = CELLS | {"cell-1": Cell(1, ("b",))}
    with pytest.raises(ValueError, match=r"cell-1.json must hold the cell .*'b'.*another folder"):
        finish_cells(other, square, tmp_path, print, num_processes=1)


@pytest.mark.slow
def test_processes_give_what_one_gives(tmp_path) -> None:
    alone = finish_cells(CELLS, square, tmp_path / "one", print, num_processes=1)
    assert finish_cells(CELLS, square, tmp_path / "two", print, num_processes=2) == alone


def test_the_interval_is_that_of_students_t() -> None:
    values = np.random.default_rng(0).normal(0.3, 1.0, 9)
    found = mean_interval(values)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert found.value == pytest.approx(sum(values) / 9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert mean_interval(np.array([0.5])) == Interval(0.5, None, None, 1)
