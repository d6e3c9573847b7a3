import itertools

import numpy as np
import pytest

from sweeps.pareto import as_costs, hypervolume_2d, pareto_front

UP_DOWN = ("maximize", "minimize")


def dominates_up_down(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] >= b[0] and a[1] <= b[1] and a != b


def naive_front(points: list[tuple[float, float]]) -> list[bool]:
    return [not any(dominates_up_down(other, point) for other in points) for point in points]


def test_front_of_accuracy_and_pairs_by_hand():
    values = [[0.7, 100], [0.7, 80], [0.6, 90], [0.6, 50], [0.8, 200]]
    front = pareto_front(values, UP_DOWN)
    assert front.tolist() == [False, True, False, True, True]


def test_every_small_case_agrees_with_a_naive_version():
    grid = list(itertools.product((0.0, 1.0, 2.0), repeat=2))
    for size in (1, 2, 3):
        for points in itertools.product(grid, repeat=size):
            front = pareto_front(np.array(points), UP_DOWN)
            assert front.tolist() == naive_front(list(points)), points


def test_duplicates_of_a_front_point_all_stay():
    front = pareto_front([[0.7, 80], [0.7, 80], [0.6, 90]], UP_DOWN)
    assert front.tolist() == [True, True, False]


def test_no_points_give_an_empty_mask():
    assert pareto_front(np.empty((0, 2)), UP_DOWN).tolist() == []


def test_one_objective_keeps_every_best_row():
    assert pareto_front([[1.0], [3.0], [3.0]], ("maximize",)).tolist() == [False, True, True]


def test_costs_negate_what_is_maximised():
    assert as_costs([[0.5, 3.0]], UP_DOWN).tolist() == [[-0.5, 3.0]]


def test_nan_is_refused_by_row():
    with pytest.raises(ValueError, match="must not be NaN, but row 1 is"):
        pareto_front([[0.5, 1.0], [float("nan"), 1.0]], UP_DOWN)


@pytest.mark.parametrize("values", [[1.0, 2.0], [[1.0, 2.0, 3.0]]])
def test_wrong_shape_is_refused(values):
    with pytest.raises(ValueError, match=r"values must have shape \(N, 2\)"):
        pareto_front(values, UP_DOWN)


def test_unknown_direction_is_refused():
    with pytest.raises(ValueError, match="must be 'maximize' or 'minimize', but got 'up'"):
        pareto_front([[1.0]], ("up",))


def test_hypervolume_of_a_staircase_by_hand():
    # costs (1, 3), (2, 2), (3, 1) against (4, 4): strips 3 * 1 + 2 * 1 + 1 * 1 = 6
    values = [[1, 3], [2, 2], [3, 1]]
    assert hypervolume_2d(values, ("minimize", "minimize"), (4, 4)) == 6.0


def test_hypervolume_of_accuracy_and_pairs_by_hand():
    # (0.75 - 0.5) * (100 - 40) = 15
    assert hypervolume_2d([[0.75, 40]], UP_DOWN, (0.5, 100)) == 15.0


def test_hypervolume_ignores_dominated_duplicate_and_outside_points():
    front = [[1, 3], [3, 1]]
    more = [*front, [3, 3], [1, 3], [5, 0], [0, 4]]
    both = ("minimize", "minimize")
    assert hypervolume_2d(more, both, (4, 4)) == hypervolume_2d(front, both, (4, 4)) == 5.0


def test_hypervolume_counts_the_cells_of_a_grid():
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = rng.integers(0, 6, (4, 2))
        covered = sum(
            any(p[0] <= x and p[1] <= y for p in points)
            for x, y in itertools.product(range(5), repeat=2)
        )
        assert hypervolume_2d(points, ("minimize", "minimize"), (5, 5)) == covered


def test_hypervolume_of_nothing_is_zero():
    assert hypervolume_2d(np.empty((0, 2)), UP_DOWN, (0, 1)) == 0.0


def test_hypervolume_wants_two_objectives():
    with pytest.raises(ValueError, match="Two objectives must be given, but got 1"):
        hypervolume_2d([[1.0]], ("minimize",), (2,))
