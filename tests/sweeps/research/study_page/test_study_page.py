"""Claims, paragraphs and the page, from rows worked out by hand."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from scpo.statistics.bootstrap import Interval
from sweeps.research.study_page.paragraphs import what_cannot_be_said, what_did_not, what_held
from sweeps.research.study_page.rows import DataSetResult, study_rows
from sweeps.research.study_page.study_claims import CLAIMS, judge_claims
from sweeps.research.study_page.study_page import study_page, write_results
from tests.sweeps.research.study_page.records import MEXICO, RECORDS, make_record

# On A every user has scpo 2 of 10 above full; on B below; inverse is like full.
ABOVE = [record for record in RECORDS if record.country == "Mexico"]
BELOW = [
    make_record("Peru", "global", [5, 5], **MEXICO),
    make_record("Peru", "full", [8, 7], **MEXICO),
    make_record("Peru", "inverse", [9, 6], **MEXICO),
    make_record("Peru", "scpo", [6, 5], **MEXICO),
    make_record("Peru", "length", [2, 2], **MEXICO),
]
ROWS = {"A": study_rows(ABOVE, "user"), "B": study_rows(BELOW, "user")}
NO_PAIRS = Interval(None, None, None, 0)
RESULTS = [
    DataSetResult(title, title, "", "", unit, ROWS[title], 0, 0.0)
    for title, unit in (("A", "user"), ("B", "question"))
]


def verdicts() -> dict[tuple[str, str], str]:
    return {(f.claim.text, f.data_set): f.verdict for f in judge_claims(ROWS)}


def about(**given: object) -> dict[str, object]:
    return {"missing": [], "machine": "", "config": "s.yaml", "note": "", **given}


def test_verdicts_follow_the_side_of_the_interval() -> None:
    assert verdicts() == {
        ("`full` above `global`", "A"): "held",
        ("`full` above `global`", "B"): "held",
        ("`full` above `length`", "A"): "not told apart",  # users 7 and 6 against 7 and 7
        ("`full` above `length`", "B"): "held",
        ("`scpo` above `full`", "A"): "held",
        ("`scpo` above `full`", "B"): "opposite",
        ("`inverse` below `full`", "B"): "not told apart",
    }


def test_paragraphs_say_what_the_findings_say() -> None:
    findings = judge_claims(ROWS)
    held, did_not = what_held(findings), what_did_not(findings)
    assert held.startswith("4 of 7 comparisons")
    assert "`scpo` above `full`: A +20.0 (+20.0 to +20.0)." in held
    assert "The opposite was found: `scpo` above `full`: B -20.0 (-20.0 to -20.0)." in did_not
    assert "holds 0: `full` above `length`: A -5.0" in did_not
    said = what_cannot_be_said(findings, RESULTS)
    assert "B: a country has 2 to 2 questions, so the interval of its `full` is 10 points" in said
    assert "`scpo` is above `full` in 0, below in 1, of 1 countries" in said
    assert "Of 5 differences that are told apart, 0 are below 1 point" in said
    assert "at 95 % about 0.4 leave out 0 by chance" in said


def test_nothing_held_and_everything_held() -> None:
    findings = judge_claims(ROWS)
    assert what_held([f for f in findings if f.verdict == "opposite"]).startswith("No claim")
    assert what_did_not([f for f in findings if f.verdict == "held"]).startswith("Nothing")


def result(name: str, records: list, **changes) -> DataSetResult:
    rows = study_rows(records, "user")
    given = {"failed": 0, "wall_s": 90.0, **changes}
    return DataSetResult(name, name.upper(), "What it is.", "How.", "user", rows, **given)


def test_the_page_has_every_arm_its_command_and_what_is_missing() -> None:
    results = [
        result("a", RECORDS, similarity="| nearness |", remark="Far."),
        result("b", BELOW, failed=2),
    ]
    text = study_page(results, about(missing=["C"], note="Chosen on A."))
    lines = text.splitlines()
    assert "Chosen on A." in lines
    assert "**Not done yet:** C. Run the same command again to continue." in lines
    assert (
        "| A | 2 | 40 | 4 users | 2 | `scpo study s.yaml --out runs/study --only a` | 1.5 min |"
        in lines
    )
    arms = [line for line in lines if line.startswith("| `scpo` | 77.5 %")]
    assert len(arms) == 1
    country = next(line for line in lines if line.startswith("| Mexico |"))
    assert "| 20 | 2 | 70.0 % | 50.0 % | 65.0 % | 85.0 % |" in country
    assert "**+20.0 (+20.0 to +20.0)**" in country
    assert "How. 2 trainings failed." in lines
    assert "| nearness |" in lines
    assert text.partition("## What did not")[2].partition("## ")[0].strip().endswith("A: Far.")
    assert [line for line in lines if line.startswith("## ")] == [
        "## The paper's pattern, on all pairs of each data set",
        "## A",
        "## B",
        "## What held",
        "## What did not",
        "## The authors' own figures",
        "## What the data cannot say",
    ]
    for claim in CLAIMS:
        assert f"| {claim.text}: {claim.why} |" in text
    assert lines[-1] == "*B.* What it is."


def test_what_is_simulated_has_a_section_and_no_part_in_the_claims() -> None:
    real, made_up = result("a", RECORDS), result("b", BELOW, is_simulated=True)
    text = study_page([real, made_up], about())
    assert "## B" in text.splitlines()
    assert "| difference in points, 95 % interval | A |" in text.splitlines()
    alone = study_page([real], about())
    for title in ("## What held", "## What did not"):
        first, second = (each.partition(title)[2].partition("## ")[0] for each in (text, alone))
        assert first == second


def test_layers_are_told_with_their_intervals() -> None:
    given = result("a", RECORDS)
    wide = Interval(0.4, 0.31, 0.52, 4)
    rows = [replace(row, distinctive=wide, consensus=NO_PAIRS) for row in given.rows]
    text = study_page([replace(given, rows=rows)], about(missing=[], machine=""))
    line = next(line for line in text.splitlines() if line.startswith("| `scpo` | 77.5 %"))
    assert "| 40.0 % (31.0-52.0) | no pairs |" in line


def test_an_empty_page_says_what_is_missing() -> None:
    text = study_page([], about(missing=["A", "B"], machine="Here."))
    assert "**Not done yet:** A, B." in text
    assert "## " not in text


def test_all_rows_go_to_a_csv_file(tmp_path: Path) -> None:
    write_results([result("a", RECORDS)], tmp_path, tmp_path / "page.md", ["C"], Path("s.yaml"))
    with (tmp_path / "study.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3 * 4
    scpo = next(line for line in lines if (line["country"], line["arm"]) == ("Mexico", "scpo"))
    assert float(scpo["vs_full"]) == pytest.approx(0.2)
    assert (scpo["distinctive"], scpo["distinctive_low"]) == ("0.85", "")
    assert (scpo["data_set"], scpo["accuracy"], scpo["vs_random_k"]) == ("a", "0.85", "")
    assert (tmp_path / "page.md").read_text().startswith("# Study")
