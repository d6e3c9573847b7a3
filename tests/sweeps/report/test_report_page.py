import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from scpo.statistics.wording import country_title, format_difference
from sweeps.curves.points import curve_points
from sweeps.ledger.records import Ledger
from sweeps.ranking.ranking import rank_records
from sweeps.ranking.recommendation import ChoiceRule
from sweeps.report.arms_table import arm_rows
from sweeps.report.report_page import render_report, write_report
from sweeps.report.report_sections import curves_section

VOID = {"meta", "br", "path", "circle", "rect", "line", "polyline", "polygon"}


class Balance(HTMLParser):
    """Checks that every element that opens closes in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(records):
    return render_report(records, name="sweep-1", config="name: sweep-1\nnote: <b>bold</b>\n")


def test_report_is_written_beside_the_ledger(run_folder, records):
    small = [r for r in records if r.purpose == "search" and r.country == "Chile"]
    Ledger(run_folder).path.write_text("".join(r.model_dump_json() + "\n" for r in small))
    path = write_report(run_folder)
    assert path == run_folder / "report.html"
    text = path.read_text(encoding="utf-8")
    assert "<h1>SCPO sweep: sweep-1</h1>" in text
    assert "note: &lt;b&gt;bold&lt;/b&gt; &amp; more" in text
    assert write_report(run_folder).read_text(encoding="utf-8") == text


def test_page_is_well_formed_and_needs_nothing_from_outside(page):
    parser = Balance()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    assert page.count("<script>") == 1
    assert "<link" not in page
    assert "@import" not in page
    names = {name for name, _ in parser.attributes}
    assert not names & {"src", "srcset", "onload", "style"}
    links = [value for name, value in parser.attributes if name in ("href", "xlink:href")]
    assert all(value.startswith("#") for value in links)
    assert "default-src 'none'" in page


def test_references_inside_the_page_resolve(page):
    ids = set(re.findall(r' id="([^"]+)"', page))
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert len(targets) >= 8
    assert targets <= ids


def test_head_says_what_when_and_with_what(page):
    assert "25 search, 72 curve, 24 final; 1 failed" in page
    assert "2026-05-04 09:30 UTC" in page
    assert "0123456789ab" in page
    assert "python 3.11.9, scpo 0.1.0, torch 2.13.0" in page


def test_what_to_use_comes_first_with_gains_and_a_warning(page, records):
    summary = page[page.index('class="summary"') : page.index("<section")]
    verdicts = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)<span>", summary))
    assert verdicts["Mexico"] == "keep the global model"
    plain = [
        name for name, words in verdicts.items() if words.startswith("plain fine-tuning: 100")
    ]
    assert plain == ["Chile", "South Africa"]
    assert "No model of its own is trained: use the global model." in summary
    assert summary.count("Few validation users (Mexico 4, Chile 5, South Africa 6)") == 1
    rows = {row.country: row for row in arm_rows(records) if row.arm == "scpo_tuned"}
    for name, row in rows.items():
        words = format_difference(row.difference("full"))
        assert f'aria-label="{country_title(name)}: {words}"' in summary


def test_page_has_arms_fronts_curves_and_errors(page, records):
    titles = re.findall(r"<h2[^>]*>([^<]+)</h2>", page)
    assert titles == [
        "Final models on test users",
        "Search: accuracy against pairs trained on",
        "Data efficiency",
        "Selection bias",
        "One setting for all countries, or one for each",
        "Which parameters mattered",
        "Cost by country",
        "Failed trials",
        "Resolved configuration",
    ]
    assert page.count('<tr class="marked">') == 4
    fronts = section_of(page, "Search: accuracy")
    assert fronts.count('<figure class="plot">') == 3
    settings = sum(len(ranking.settings) for ranking in rank_records(records))
    trained = sum(ranking.trained is not None for ranking in rank_records(records))
    assert fronts.count("<circle") == settings + trained
    assert fronts.count("Power: with ") == 3
    assert section_of(page, "Data efficiency").count('<figure class="plot">') == 2 * 4
    assert "<code>scpo curves sweep-1</code>" in page


def test_curves_of_a_seventh_arm_are_drawn_too(records):
    full = [point for point in curve_points(records) if point.arm == "full"]
    seven = [replace(point, arm=f"arm {n}") for n in range(7) for point in full]
    assert curves_section(seven, "run").body.count("arm 6</li>") == 2 * 4


def section_of(page, title):
    start = page.index(f">{title}")
    start = page.index(f">{title}", start + 1)  # the first is in the contents
    return page[start : page.index("</section>", start)]


def test_page_shows_selection_bias_beside_the_test(page, records):
    section = section_of(page, "Selection bias")
    (ranking,) = rank_records([r for r in records if r.country == "Chile"])
    chile = section[section.index("Chile") : section.index("Mexico")]
    assert f">{100 * ranking.accuracy:.1f}<" in chile
    assert f">{100 * ranking.optimism:+.1f}<" in chile
    assert f">{100 * (ranking.accuracy - ranking.optimism):.1f}<" in chile
    assert "not tested yet" not in section


def test_a_search_without_tests_says_so(records):
    search = [r for r in records if r.purpose == "search" and r.country == "Chile"]
    page = render_report(search, name="x", config=None)
    assert ">not tested yet<" in page
    assert "needs at least two countries with ranked settings" in page
    assert "Gain of the chosen setting" not in page


def test_page_shows_regret_importance_knee_and_hypervolume(page):
    assert "One setting for all, the best of" in page
    assert "hypervolume 0." in page
    section = section_of(page, "Which parameters mattered")
    headings = re.findall(r'<button type="button">([^<]*)</button>', section)
    assert headings == ["country", "retention", "strength", "trials", ""]


def test_too_few_trials_for_importance_are_said(records):
    few = [r for r in records if r.purpose == "search" and r.country == "Chile"][:5]
    page = render_report(few, name="x", config=None)
    assert "nothing to tell: 5 complete trials, but at least 8 are needed" in page


def test_texts_of_the_ledger_are_escaped(page):
    assert "RuntimeError: &lt;CUDA&gt; out of memory &amp; gone" in page
    assert "note: &lt;b&gt;bold&lt;/b&gt;" in page
    assert "<CUDA>" not in page


def test_country_names_are_escaped_in_text_and_figures(records):
    odd = [r.model_copy(update={"country": "<i>A&B"}) for r in records if r.country == "Chile"]
    page = render_report(odd, name="<x>", config=None)
    assert "<i>" not in page
    assert "<h1>SCPO sweep: &lt;x&gt;</h1>" in page
    assert "Resolved configuration" not in page
    Balance().feed(page)


def test_a_run_of_failures_only_is_still_a_page(records):
    page = render_report([records[-1]], name="bad", config=None)
    assert "no setting to recommend" in page
    assert "This run has no final models yet." in page
    assert "This run has no searched setting to draw." in page
    assert "trainings at two budgets or more, but the run has none so far." in page


def test_a_run_without_search_is_still_a_page(records):
    finals = [r for r in records if r.purpose == "final" and r.country == "Chile"]
    page = render_report(finals, name="finals", config=None)
    assert "This run has no search, so nothing is recommended." in page
    assert "Failed trials" not in page


def test_the_rule_is_passed_on_and_said(records):
    search = [r for r in records if r.purpose == "search" and r.country == "Chile"]
    rule = ChoiceRule(margin=0.025, caution=2.5, max_consensus_drop=0.125)
    page = render_report(search, name="x", config=None, rule=rule)
    assert "lies above -2.5 points" in page
    assert "2.5 standard errors by user" in page
    assert "lose more than 12.5 points where the global model is right" in page


def test_long_lists_of_failures_are_cut_and_said(records):
    page = render_report([records[-1]] * 60, name="bad", config=None)
    assert "60 failed; the first 50 are shown" in page
    assert page.count("out of memory") == 50


def test_an_empty_or_missing_ledger_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="No ledger at"):
        write_report(tmp_path)
    (tmp_path / "trials.jsonl").write_text("")
    with pytest.raises(ValueError, match="has no trial yet, so there is nothing to report"):
        write_report(tmp_path)


def test_reading_a_run_imports_neither_ray_nor_torch_nor_pyplot():
    code = (
        "import sys\n"
        "import sweeps.report.arms_table, sweeps.curves.output.figure\n"
        "import sweeps.report.leaderboard, sweeps.report.report_page\n"
        "heavy = {'ray', 'torch', 'transformers', 'deepspeed', 'matplotlib.pyplot'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
