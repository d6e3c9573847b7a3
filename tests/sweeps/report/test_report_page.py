import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from sweeps.ledger.records import Ledger
from sweeps.ranking.ranking import rank_records
from sweeps.ranking.recommendation import ChoiceRule
from sweeps.report.report_page import render_report, write_report

VOID = {"meta", "br", "path", "circle", "use", "rect", "line", "stop", "image"}


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
    assert "<script" not in page
    assert "<link" not in page
    assert "@import" not in page
    names = {name for name, _ in parser.attributes}
    assert not names & {"src", "srcset", "onload"}
    links = [value for name, value in parser.attributes if name in ("href", "xlink:href")]
    assert all(value.startswith("#") for value in links)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


def test_references_inside_the_page_resolve(page):
    ids = set(re.findall(r' id="([^"]+)"', page))
    targets = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert targets
    assert targets <= ids


def test_head_says_what_when_and_with_what(page):
    assert "25 search, 72 curve, 24 final; 1 failed" in page
    assert "2026-05-04 09:30 UTC" in page
    assert "0123456789ab" in page
    assert "python 3.11.9, scpo 0.1.0, torch 2.13.0" in page


def test_page_has_recommendations_arms_figures_and_errors(page):
    assert page.count('<article class="card">') == 3
    assert '<div class="big">keep the global model</div>' in page
    assert page.count('<div class="big">plain fine-tuning: 100 % of the pairs') == 2
    assert "no setting is shown to gain on plain fine-tuning" in page
    assert page.count("Power: with ") == 3
    assert "never seen in the search" in page
    assert page.count('<tr class="tuned">') == 4
    assert "longer response wins" in page
    assert page.count("<figure>") == 1 + 4
    assert "pairs trained on (log scale)" in page
    assert "recommended, 95 % interval" in page


def test_page_shows_selection_bias_beside_the_test(page, records):
    assert "<h2>Selection bias</h2>" in page
    assert page.count("Selection bias: about") == 3
    section = page[page.index("<h2>Selection bias</h2>") : page.index("Final models on test")]
    (ranking,) = rank_records([r for r in records if r.country == "Chile"])
    chile = section[section.index("<td>Chile</td>") : section.index("<td>Mexico</td>")]
    assert f"{100 * ranking.accuracy:.1f} %" in chile
    assert f"{100 * ranking.optimism:+.1f}" in chile
    assert f"{100 * (ranking.accuracy - ranking.optimism):.1f} %" in chile
    assert "not tested yet" not in section


def test_a_search_without_tests_says_so(records):
    search = [r for r in records if r.purpose == "search" and r.country == "Chile"]
    page = render_report(search, name="x", config=None)
    assert '<td colspan="5">not tested yet</td>' in page
    assert "needs at least two countries with ranked settings" in page


def test_page_shows_regret_importance_knee_and_hypervolume(page):
    assert "One setting for all, the best of" in page
    assert "All countries, pairs pooled" in page
    assert "hypervolume 0." in page
    assert "knee of the front" in page
    section = page[page.index("Which parameters mattered") :]
    assert "<th>retention</th><th>strength</th><th>trials</th>" in section
    assert section.count('class="share"') == 6


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
    assert "<details>" not in page
    Balance().feed(page)


def test_a_run_of_failures_only_is_still_a_page(records):
    page = render_report([records[-1]], name="bad", config=None)
    assert "no setting to recommend" in page
    assert "This run has no final models yet." in page
    assert "This run has no searched setting to draw." in page
    assert "A curve needs at least two budgets, but the run has none." in page


def test_a_run_without_search_is_still_a_page(records):
    finals = [r for r in records if r.purpose == "final" and r.country == "Chile"]
    page = render_report(finals, name="finals", config=None)
    assert "This run has no search, so nothing is recommended." in page
    assert "Failed trials" not in page


def test_the_rule_is_passed_on_and_said(records):
    search = [r for r in records if r.purpose == "search" and r.country == "Chile"]
    rule = ChoiceRule(margin=0.025, caution=2.5, max_consensus_drop=0.125)
    page = render_report(search, name="x", config=None, rule=rule)
    assert "&minus;2.5&nbsp;points" in page
    assert "2.5 standard errors by user" in page
    assert "lose more than 12.5&nbsp;points where the global model is right" in page


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
