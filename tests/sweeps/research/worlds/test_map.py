"""The map: its cells, comparisons, counts and figure, on made-up figures and tiny worlds."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import LineCollection, QuadMesh

from scpo.statistics.bootstrap import Interval
from sweeps.research.run_worlds import show_map, show_truth
from sweeps.research.worlds import map as map_module
from sweeps.research.worlds.map import (
    SIZES,
    MapAxes,
    again_cells,
    map_cells,
    run_map,
)
from sweeps.research.worlds.map_cells import (
    BOTH,
    COMPARED,
    MapCell,
    MapRow,
    cell_rows,
    compute_map_cell,
)
from sweeps.research.worlds.map_figure import SHOWN, map_figure, region_edges
from sweeps.research.worlds.map_table import count_regions, regions_table
from sweeps.research.worlds.world_arms import Tuning, judge_world
from sweeps.research.worlds.worlds import WorldSettings, make_world

TUNING = Tuning(num_settings=4, folds=2)
AXES = MapAxes((0.0, 1.0), (0.0, 0.4), (8,), (0.8, 1.0), 2, TUNING)


def made_up_rows(differences, *, spread=0.001):
    """Rows of arms against full over shift (columns) and outliers (rows), every second negated."""
    rows = []
    for model, sign in zip(SHOWN, (1, -1, 1, -1), strict=True):
        for line, column in np.ndindex(differences.shape):
            value = sign * float(differences[line, column])
            difference = Interval(value, value - spread, value + spread, 9)
            rows.append(
                MapRow(
                    *("", float(column), line / 10, 96, 1.0, model, "full", "truth"),
                    *(difference, 0.7, 0.7 - value, 0.5, 1.0, 9),
                )
            )
    return rows


def test_the_cells_span_the_axes_and_share_no_seed() -> None:
    for axes in (AXES, *SIZES.values()):
        cells = map_cells(axes)
        points = {
            (c.world.shift, c.world.outlier_share, c.world.num_users, c.world.global_cosine)
            for c in cells.values()
        }
        wanted = (axes.shifts, axes.outlier_shares, axes.num_users, axes.global_cosines)
        assert len(points) == len(cells) == np.prod([len(values) for values in wanted])
        seeds = [seed for cell in cells.values() for seed in cell.seeds]
        assert len(set(seeds)) == len(seeds) == len(cells) * axes.num_worlds


def test_the_region_is_measured_again_on_fresh_worlds() -> None:
    axes = SIZES["large"]
    again = again_cells(axes)
    used = {seed for cell in map_cells(axes).values() for seed in cell.seeds}
    fresh = [seed for cell in again.values() for seed in cell.seeds]
    assert len(again) == 3 * 2 * 3
    assert len(set(fresh) - used) == len(fresh) == 18 * axes.num_worlds


def test_a_cell_holds_every_arm_of_every_world() -> None:
    cell = MapCell(WorldSettings(num_users=8), TUNING, num_worlds=2, first_seed=5)
    result = compute_map_cell(cell)
    unmoved = np.zeros((1, 32), dtype=np.float32)
    for number, seed in enumerate((5, 6)):
        expected = judge_world(unmoved, make_world(cell.world, seed).test)[0]
        np.testing.assert_allclose(result["global"][number], expected)
        for arm in ("scpo", "full", "random_k", "paper", "user", BOTH):
            assert len(result[arm][number]) == len(expected)
    assert result["user"] == result["full"]  # too few users to weigh
    assert result[BOTH] == result["scpo"]


def test_weights_of_users_are_tried_where_there_are_enough() -> None:
    world = WorldSettings(num_users=30, outlier_share=0.3)
    never = replace(TUNING, caution=math.inf)  # scpo is full, so both are the arm user
    result = compute_map_cell(MapCell(world, never, num_worlds=1))
    assert result["chosen"] == [[1.0, 0.0]]
    assert result["user"] != result["full"]
    assert result[BOTH] == result["user"]


def test_rows_are_paired_differences_of_a_cell() -> None:
    cell = MapCell(WorldSettings(shift=0.5), TUNING, num_worlds=3)
    arms = {"scpo": 0.8, "full": 0.7, "random_k": 0.6, "paper": 0.5, "user": 0.75, BOTH: 0.85}
    luck = np.array([0.0, 0.1, -0.1])[:, None] * np.ones(4)
    result = {arm: (value + luck).tolist() for arm, value in arms.items()}
    result |= {"global": (0.65 + luck).tolist(), "chosen": [[0.5, 1.0], [0.7, 2.0], [0.6, 0.0]]}
    rows = cell_rows(cell, result)
    assert {(row.model, row.against) for row in rows} == set(COMPARED)
    row = next(r for r in rows if (r.model, r.against, r.measure) == ("scpo", "full", "truth"))
    figures = row.difference.value, row.difference.low, row.difference.high
    assert figures == pytest.approx((0.1, 0.1, 0.1))  # luck is shared
    assert (row.shift, row.pairs, row.num_worlds) == (0.5, 288, 3)
    assert (row.retention, row.strength) == pytest.approx((0.6, 1.0))


@pytest.mark.parametrize(
    ("mask", "num_edges"),
    [([[1]], 4), ([[1, 1]], 6), ([[1, 0], [0, 1]], 8), ([[1, 1], [1, 1]], 8), ([[0, 0]], 0)],
)
def test_a_region_is_outlined_and_not_its_inner_borders(mask, num_edges) -> None:
    assert region_edges(np.array(mask, dtype=bool)).shape == (num_edges, 2, 2)


def test_the_outline_of_one_cell_is_its_square() -> None:
    mask = np.zeros((3, 4), dtype=bool)
    mask[1, 2] = True
    edges = {tuple(map(tuple, edge.tolist())) for edge in region_edges(mask)}
    assert edges == {
        ((1.5, 0.5), (2.5, 0.5)),
        ((1.5, 1.5), (2.5, 1.5)),
        ((1.5, 0.5), (1.5, 1.5)),
        ((2.5, 0.5), (2.5, 1.5)),
    }


def test_the_figure_outlines_and_numbers_what_is_sure() -> None:
    differences = np.array([[0.0, 0.03], [-0.02, 0.0005]])
    figure = map_figure(made_up_rows(differences), "truth", 1.0)
    meshes = {
        axes: next(c for c in axes.collections if isinstance(c, QuadMesh))
        for axes in figure.axes
        if axes.get_ylabel().endswith("outlier users")
    }
    assert [axes.get_ylabel().splitlines()[0] for axes in meshes] == list(SHOWN.values())
    for sign, (axes, mesh) in zip((1, -1, 1, -1), meshes.items(), strict=True):
        np.testing.assert_allclose(mesh.get_array(), sign * differences)
        assert mesh.get_clim() == pytest.approx((-0.03, 0.03))
        numbers = {text.get_position(): text.get_text() for text in axes.texts}
        assert numbers == {(1, 0): f"{3 * sign:+.1f}", (0, 1): f"{-2 * sign:+.1f}"}
        lines = [c for c in axes.collections if isinstance(c, LineCollection)]
        assert [len(line.get_segments()) for line in lines] == [4, 4]


@pytest.mark.parametrize(("measure", "cosine"), [("overall", 1.0), ("truth", 0.5)])
def test_a_map_without_its_measure_or_cosine_is_refused(measure: str, cosine: float) -> None:
    with pytest.raises(ValueError, match=f"needs rows of .'{measure}', 'full', {cosine}"):
        map_figure(made_up_rows(np.zeros((2, 2))), measure, cosine)


def test_regions_count_what_is_sure() -> None:
    rows = made_up_rows(np.array([[0.01, 0.02], [-0.02, 0.0]]))
    first, second, *others = count_regions(rows, "truth")
    assert (first.num_above, first.num_below, first.num_cells) == (2, 1, 4)
    assert first.mean.difference.value == pytest.approx(0.0025)
    # four means of one standard error: their mean has half of it
    assert (first.mean.difference.low, first.mean.difference.high) == pytest.approx((0.002, 0.003))
    assert (second.num_above, second.num_below) == (1, 2)
    assert regions_table([first, second, *others]).row_count == 4
    assert count_regions(rows, "overall") == []


def test_a_map_goes_on_where_it_ended(tmp_path, monkeypatch) -> None:
    axes = replace(AXES, global_cosines=(1.0,))
    rows = run_map(tmp_path, axes, print, num_processes=1)
    written = {path.name for path in tmp_path.iterdir()}
    figures = {f"{name}.{end}" for name in ("map", "map_overall") for end in ("svg", "png")}
    assert written == {"cells", "map.csv", "again.csv"} | figures
    with (tmp_path / "map.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == 4 * len(COMPARED) * 2

    def fail(cell):
        raise AssertionError("a cell was computed again")

    monkeypatch.setattr(map_module, "compute_map_cell", fail)
    assert run_map(tmp_path, axes, print, num_processes=1) == rows
    with pytest.raises(ValueError, match="must hold the cell"):
        run_map(tmp_path, replace(axes, num_worlds=3), print, num_processes=1)


@pytest.mark.parametrize("show", [show_map, show_truth])
def test_a_size_that_does_not_exist_is_refused(show, tmp_path) -> None:
    with pytest.raises(ValueError, match="size must be of small, large, but got 'huge'"):
        show(tmp_path, "huge", print, 1)
