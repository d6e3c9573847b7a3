"""The figure of Pareto fronts, one panel for each country."""

import pytest

from scpo.files.figure_style import inline_svg
from sweeps.ranking.ranking import rank_country
from sweeps.report.pareto_figure import pareto_figure


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
