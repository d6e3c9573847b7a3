import pytest

from scpo.files.figure_style import spread_positions


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        ([], []),
        ([5.0], [5.0]),
        ([0.0, 3.0], [0.0, 3.0]),
        ([0.0, 0.5], [-0.25, 0.75]),  # moved apart by the same amount
        ([1.0, 1.0], [1.5, 0.5]),  # of equals the first is highest
        ([0.0, 0.0, 0.0, 9.0], [1.0, 0.0, -1.0, 9.0]),
        ([0.0, 0.8, 1.6], [-0.2, 0.8, 1.8]),  # a block that grows pushes its neighbour
        ([3.0, 0.0], [3.0, 0.0]),
    ],
)
def test_labels_move_apart_as_little_as_needed(positions, expected):
    assert spread_positions(positions, 1.0) == pytest.approx(expected)
