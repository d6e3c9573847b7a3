import pytest
from matplotlib.figure import Figure

from sweeps.drawing import BLUE, drawing_style, inline_svg, spread_positions
from sweeps.pareto_figure import pareto_figure
from sweeps.ranking import rank_country


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


def test_pareto_figure_has_a_panel_for_each_country_with_settings(trial):
    rankings = [
        rank_country(
            [
                trial("a", [8, 8], 90, country=country),
                trial("b", [5, 5], 30, country=country, drop=0.1),
                trial("c", [5, 5], 99, country=country, state=state),
            ],
            country,
        )
        for country, state in (("Chile", "complete"), ("$x_1$", "failed"))
    ]
    failed = rank_country([trial("d", [1], 5, country="Peru", state="failed")], "Peru")
    figure = pareto_figure([*rankings, failed])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Chile", "$x_1$"]
    assert figure.axes[0].get_xlabel() == "pairs trained on"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == [
        "setting",
        "breaks the constraint",
        "Pareto front",
        "recommended, 95 % interval",
    ]
    assert "$x_1$" in inline_svg(figure, "fronts")  # text, not mathematics


def test_nothing_ranked_is_refused(trial):
    failed = rank_country([trial("d", [1], 5, state="failed")], "Mexico")
    with pytest.raises(ValueError, match="At least one ranked setting must be given"):
        pareto_figure([failed])
