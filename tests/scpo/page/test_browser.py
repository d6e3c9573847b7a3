"""Pages in a real browser: they sort and tell, ask nothing of a network, and run no text.

Needs Chromium and `pip install -e '.[browser]'`; skipped without.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup

from scpo.evaluation.reporting.evaluation_page import evaluation_page
from scpo.evaluation.tables import evaluate_models
from scpo.page.charts import ForestRow, Plot, PlotPoint, Series, draw_forest, draw_plots
from scpo.page.page import Section, join, render_page
from scpo.page.sorted_tables import Table, TableCell, draw_table
from scpo.statistics.bootstrap import Interval

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
chromium = shutil.which("chromium") or shutil.which("chromium-browser")
if chromium is None:
    pytest.skip("needs Chromium", allow_module_level=True)

HOSTILE = "<script>window.ran = true</script><img src=x onerror='window.ran = true'>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, scored_countries: Any) -> dict[str, Path]:
    """Files by name: the parts with hostile texts, and a whole evaluation."""
    rows = [ForestRow(HOSTILE, Interval(0.1, 0.0, 0.2, 9), HOSTILE)]
    plot = Plot(
        HOSTILE, "x", "y", [Series(HOSTILE, [PlotPoint(1, 0.5, HOSTILE), PlotPoint(2, 0.6)])]
    )
    line = Plot("lines", "x", "y", [Series("s", [PlotPoint(1, 0.5, "one")], joined=True)])
    table = Table("t", ["<name", "n"], [["b", 10], ["a", 9], [HOSTILE, TableCell("100", 100.0)]])
    body = join([draw_plots([plot, line]), draw_table(table)])
    parts = render_page(HOSTILE, draw_forest(rows, HOSTILE), [Section(HOSTILE, body, HOSTILE)])
    tables = evaluate_models(scored_countries(("Chile", "South Africa"), arms=("scpo",)))
    folder = tmp_path_factory.mktemp("pages")
    texts = {"parts": parts, "evaluation": evaluation_page(tables, name="e", part="test")}
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text)
    return {name: folder / f"{name}.html" for name in texts}


def open_page(browser: Any, file: Path, **options: Any) -> Any:
    """Return a loaded page; what it says on the console or asks for is kept on it."""
    page = browser.new_page(**options)
    page.said, page.asked = [], []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(file.as_uri())
    return page


@pytest.mark.parametrize("name", ["parts", "evaluation"])
def test_nothing_is_asked_of_a_network_and_nothing_goes_wrong(browser, pages, name):
    page = open_page(browser, pages[name])
    assert page.said == []
    assert page.asked == [pages[name].as_uri()]
    assert page.evaluate("window.ran") is None


@pytest.mark.parametrize("name", ["parts", "evaluation"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, pages, name, scheme):
    page = open_page(browser, pages[name], color_scheme=scheme)
    found = axe.Axe().run(page).response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in serious] == []


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_the_page_itself_never_scrolls_sideways(browser, pages, width):
    page = open_page(browser, pages["evaluation"], viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [700, 1200])
def test_a_long_name_leaves_room_for_what_stands_beside_it(browser, tmp_path, width):
    name = "The Democratic Republic of the Congo " * 3
    verdict = f'<dl class="verdicts"><dt>{name}</dt><dd>{"all is well " * 20}</dd></dl>'
    forest = draw_forest([ForestRow(name, Interval(0.1, 0.0, 0.2, 9), "12 pairs")], "gain")
    file = tmp_path / "page.html"
    file.write_text(render_page("t", join([Markup(verdict), forest]), []))
    page = open_page(browser, file, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for beside in ("dd", ".track"):
        assert page.locator(beside).first.bounding_box()["width"] > width / 4


def test_a_click_on_a_heading_sorts_by_number_or_name(browser, pages):
    page = open_page(browser, pages["parts"])

    def column(number: int) -> list[str]:
        return [row.inner_text() for row in page.locator(f"td:nth-child({number})").all()]

    page.locator("th button").nth(1).click()
    assert column(2) == ["100", "10", "9"]
    assert page.locator("th").nth(1).get_attribute("aria-sort") == "descending"
    page.locator("th button").nth(1).press("Enter")
    assert column(2) == ["9", "10", "100"]
    page.locator("th button").nth(0).click()
    page.locator("th button").nth(0).click()
    assert column(1)[1:] == ["a", "b"]


def test_a_point_tells_by_mouse_and_by_keyboard(browser, pages):
    page = open_page(browser, pages["parts"])
    tip = page.locator("#tip")
    assert not tip.is_visible()
    page.locator(".points circle").nth(0).hover()
    assert tip.inner_text() == HOSTILE
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    page.locator(".points circle[tabindex]").focus()
    assert tip.inner_text() == "one"
