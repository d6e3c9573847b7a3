import pytest
from matplotlib.figure import Figure

from scpo.files.figure_style import BLUE, drawing_style, inline_svg, spread_positions


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


def test_inline_svg_takes_its_colours_from_the_page():
    with drawing_style():
        figure = Figure()
        figure.subplots().plot([0, 1], [0, 1], color=BLUE)
    svg = inline_svg(figure, "a line")
    head = svg.split(">", 1)[0]
    assert head.startswith("<svg")
    assert 'role="img" aria-label="a line"' in head
    assert "width=" not in head
    assert "var(--blue)" in svg
    assert BLUE not in svg
    assert "<metadata" not in svg
    assert "<?xml" not in svg
