"""Pages as text: what is shown is escaped, and only the page's own style and script may run."""

import base64
import hashlib
import re

import pytest
from markupsafe import Markup

from scpo.page.charts import ForestRow, Plot, PlotPoint, Series, draw_forest, draw_plots
from scpo.page.page import Section, join, list_few, paragraph, render_page
from scpo.page.sorted_tables import Table, TableCell, accuracy_cell, difference_cell, draw_table
from scpo.statistics.bootstrap import Interval

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m"


def hash_of(html, tag):
    inner = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL).group(1)
    return "sha256-" + base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()


def test_only_the_page_s_own_style_and_script_are_allowed():
    html = render_page("t", paragraph("x"), [Section("One", "body")])
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html).group(1)
    assert "default-src 'none'" in policy
    assert f"style-src '{hash_of(html, 'style')}'" in policy
    assert f"script-src '{hash_of(html, 'script')}'" in policy
    assert not re.search(r'style="|\son\w+="|https?://', html)


def test_texts_are_shown_not_run():
    table = draw_table(
        Table(HOSTILE, ["<" + HOSTILE], [[HOSTILE], [TableCell(HOSTILE, note=HOSTILE)]])
    )
    forest = draw_forest([ForestRow(HOSTILE, Interval(0.1, 0.0, 0.2, 9), HOSTILE)], HOSTILE)
    plot = draw_plots(
        [Plot(HOSTILE, HOSTILE, HOSTILE, [Series(HOSTILE, [PlotPoint(1, 1, HOSTILE)])])]
    )
    section = Section(HOSTILE, join([table, forest, plot, HOSTILE]), HOSTILE, HOSTILE)
    html = render_page(HOSTILE, paragraph(HOSTILE), [section], facts=[HOSTILE])
    assert "<img" not in html
    assert "\x1b" not in html
    assert html.count("&lt;img") >= 15


def test_a_table_s_cells_carry_what_they_sort_by():
    html = draw_table(
        Table(
            "arms",
            ["<arm", "accuracy, %", "against full", "pairs"],
            [
                ["full", accuracy_cell(Interval(0.6, 0.5, 0.7, 9)), difference_cell(None), 1234],
                [
                    "scpo",
                    accuracy_cell(0.65),
                    difference_cell(Interval(-0.01, -0.1, 0.1, 9)),
                    None,
                ],
            ],
            marked=[1],
        )
    )
    assert 'data-key="0.6">60.0 (50.0-70.0)<' in html
    assert 'data-key="-0.01">-1.0 (-10.0 to +10.0)<' in html
    assert 'data-key="1234.0">1,234<' in html
    assert html.index("scpo") > html.index('<tr class="marked">') > html.index("full")
    with pytest.raises(ValueError, match="arms: 2 cells a row must hold, but got 1"):
        draw_table(Table("arms", ["a", "b"], [["x"]]))


def test_a_forest_has_one_axis_and_tells_the_side_of_each_interval():
    rows = [
        ForestRow("a", Interval(0.10, 0.0, 0.2, 9)),
        ForestRow("b", Interval(0.15, 0.1, 0.2, 9)),
        ForestRow("c", Interval(-0.2, -0.3, -0.1, 9)),
        ForestRow("d", Interval(None, None, None, 0)),
    ]
    html = draw_forest(rows, "gain")
    # The axis goes from -0.3 to 0.2 with 6 % of room: 0 lies at 33/56 of it.
    assert html.count(f'x1="{100 * 33 / 56:.2f}%"') == 5  # the line at 0, and the start of a
    assert re.findall(r'class="range (\w*)"', html) == ["", "up", "down"]
    assert 'aria-label="d: no pairs"' in html


def test_a_plot_places_points_bands_and_ticks():
    points = [PlotPoint(100, 0.5, "first", 0.4, 0.6), PlotPoint(200, 0.7, "", 0.6, 0.8)]
    html = draw_plots([Plot("p", "pairs", "accuracy", [Series("s", points, joined=True)])])
    left, right = 100 - 6, 200 + 6
    low, high = 0.4 - 0.024, 0.8 + 0.024
    x = [100 * (value - left) / (right - left) for value in (100, 200)]
    y = [100 * (high - value) / (high - low) for value in (0.5, 0.7)]
    assert f'cx="{x[0]:.2f}%" cy="{y[0]:.2f}%"' in html.replace('.0%"', '.00%"')
    assert html.count("<polygon") == 1
    assert 'aria-label="first" tabindex="0"' in html
    assert draw_plots([Plot("empty", "x", "y", [Series("s", [])])]).count("<figure") == 0
    assert isinstance(html, Markup)


def test_a_logarithmic_axis_is_even_in_ratios():
    points = [PlotPoint(10, 0.5), PlotPoint(100, 0.5), PlotPoint(1000, 0.5)]
    html = draw_plots([Plot("p", "x", "y", [Series("", points)], log_x=True)])
    first, middle, last = map(float, re.findall(r'cx="([\d.]+)%"', html))
    assert middle - first == pytest.approx(last - middle, abs=0.02)


@pytest.mark.parametrize(
    ("pairs", "shown"), [(9_999.0, "9,999"), (48_000.0, "48,000"), (123_456, "123,456")]
)
def test_a_large_count_is_written_out(pairs, shown):
    assert f">{shown}</td>" in draw_table(Table("t", ["pairs"], [[pairs]]))
    plot = Plot("p", "pairs", "y", [Series("s", [PlotPoint(0.5, 0.5), PlotPoint(pairs, 0.6)])])
    assert "e+0" not in draw_plots([plot])


def test_countries_of_few_users_are_listed_fewest_first_and_not_without_end():
    assert list_few({"Chile": 9, "Peru": 3, "Fiji": 10}) == "Peru 3, Chile 9"
    assert list_few({"Fiji": 10}) == ""
    assert list_few({f"Land {n:02d}": 2 for n in range(30)}).endswith("Land 09 2 and 20 more")
