import itertools

import numpy as np
import pytest

from sweeps.ranking.pareto import find_knee, hypervolume, pareto_front


def dominates_up_down(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] >= b[0] and a[1] <= b[1] and a != b


def naive_front(points: list[tuple[float, float]]) -> list[bool]:
    return [not any(dominates_up_down(other, point) for other in points) for point in points]


def test_front_of_accuracy_and_pairs_by_hand():
    values = [[0.7, 100], [0.7, 80], [0.6, 90], [0.6, 50], [0.8, 200]]
    front = pareto_front(values)
    assert front.tolist() == [False, True, False, True, True]


def test_every_small_case_agrees_with_a_naive_version():
    grid = list(itertools.product((0.0, 1.0, 2.0), repeat=2))
    for size in (1, 2, 3):
        for points in itertools.product(grid, repeat=size):
            front = pareto_front(np.array(points))
            assert front.tolist() == naive_front(list(points)), points


def test_duplicates_of_a_front_point_all_stay():
    front = pareto_front([[0.7, 80], [0.7, 80], [0.6, 90]])
    assert front.tolist() == [True, True, False]


def test_no_points_give_an_empty_mask():
    assert pareto_front(np.empty((0, 2))).tolist() == []


def test_nan_is_refused_by_row():
    with pytest.raises(ValueError, match="must not be NaN, but row 1 is"):
        pareto_front([[0.5, 1.0], [float("nan"), 1.0]])


@pytest.mark.parametrize("values", [[1.0, 2.0], [[1.0, 2.0, 3.0]]])
def test_wrong_shape_is_refused(values):
    with pytest.raises(ValueError, match=r"values must have shape \(N, 2\)"):
        pareto_front(values)


def test_hypervolume_of_a_staircase_by_hand():
    # accuracies 3, 2, 1 above 0 at costs 3, 2, 1 below 4: strips 3 * 1 + 2 * 1 + 1 * 1 = 6
    values = [[3, 3], [2, 2], [1, 1]]
    assert hypervolume(values, (0, 4)) == 6.0


def test_hypervolume_of_accuracy_and_pairs_by_hand():
    # (0.75 - 0.5) * (100 - 40) = 15
    assert hypervolume([[0.75, 40]], (0.5, 100)) == 15.0


def test_hypervolume_ignores_dominated_duplicate_and_outside_points():
    front = [[3, 3], [1, 1]]
    more = [*front, [1, 3], [3, 3], [-1, 0], [4, 4]]
    assert hypervolume(more, (0, 4)) == hypervolume(front, (0, 4)) == 5.0


def test_hypervolume_counts_the_cells_of_a_grid():
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = rng.integers(0, 6, (4, 2))
        covered = sum(
            any(p[0] > x and p[1] <= y for p in points)
            for x, y in itertools.product(range(5), repeat=2)
        )
        assert hypervolume(points, (0, 5)) == covered


def test_hypervolume_of_nothing_is_zero():
    assert hypervolume(np.empty((0, 2)), (0, 1)) == 0.0


def test_hypervolume_agrees_with_a_staircase_written_as_a_loop():
    rng = np.random.default_rng(1)
    for _ in range(50):
        values = np.column_stack([rng.uniform(0.3, 0.9, 12), rng.uniform(0.1, 1.3, 12)])
        area, reach = 0.0, 1.1
        for share in np.sort(values[:, 1])[::-1]:  # each strip of pairs has its best accuracy
            if share < 1.1:
                best = values[values[:, 1] <= share, 0].max()
                area += (reach - share) * max(0.0, best - 0.5)
                reach = share
        assert hypervolume(values, (0.5, 1.1)) == pytest.approx(area)


def test_the_knee_by_hand():
    # costs of the front, scaled: (0, 1), (0.25, 0.5), (0.5, 0.25), (0.75, 0.125), (1, 0);
    # 1 - a - b is 0, 0.25, 0.25, 0.125, 0, and of equals the first counts
    values = [[0.5, 90], [1.0, 80], [0.875, 40], [0.75, 20], [0.625, 10], [0.5, 0]]
    assert find_knee(values) == 2
    assert find_knee(values[::-1]) == 2


def test_a_point_off_the_front_is_never_the_knee():
    values = [[0.75, 41], [0.9, 100], [0.8, 40], [0.7, 0]]
    assert find_knee(values) == 2


@pytest.mark.parametrize(
    "values",
    [
        np.empty((0, 2)),
        [[0.7, 50]],
        [[0.7, 50], [0.7, 50]],
        [[0.7, 50], [0.9, 80]],  # two ends and nothing between
        [[0.6, 0], [0.7, 50], [0.8, 100]],  # a straight line
        [[0.6, 0], [0.65, 80], [0.8, 100]],  # bent to the worse side
    ],
)
def test_a_front_without_a_bend_has_no_knee(values):
    assert find_knee(values) is None
