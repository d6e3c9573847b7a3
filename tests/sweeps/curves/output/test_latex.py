"""The summary as LaTeX and for the terminal: balanced, escaped, one table a target."""

import re

import pytest
from rich.console import Console

from sweeps.curves.output.latex import (
    HEADINGS,
    describe_target,
    escape_latex,
    latex_table,
    target_tables,
    write_latex,
)
from sweeps.curves.summary import curve_summary
from tests.sweeps.curves.worlds import make_world, power_truth

NAMES = ("Côte d'Ivoire", "A_B & C%", r"{x}\$#~^")


def steep(ratio):
    return power_truth(0.1, 2.0, 0.5, ratio=ratio)


@pytest.fixture(scope="module")
def rows():
    points = [
        point
        for name in NAMES
        for point in make_world(
            {"full": steep(1), "random_k": steep(0.1), "scpo": steep(3)},
            (0.25, 0.5, 1.0),
            country=name,
            kept={"scpo": 0.5},
        )
    ]
    return curve_summary(points, target=0.7, num_resamples=100)


def cells_of(line):
    """Split a row of LaTeX at ampersands that are no letters."""
    return [cell.strip() for cell in re.split(r"(?<!\\)&", line.removesuffix(r" \\"))]


def test_latex_is_a_balanced_table_of_seven_columns(rows):
    text = latex_table(rows)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    lines = [line for line in text.splitlines() if line.endswith(r" \\")]
    body = [cells_of(line) for line in lines[2:]]
    assert len(body) == 3 * 3
    assert {len(cells) for cells in body} == {7}
    assert len(cells_of(lines[1])) == 7
    assert [cells[0] for cells in body[::3]] == [
        "Côte d'Ivoire",
        r"A\_B \& C\%",
        r"\{x\}\textbackslash{}\$\#\textasciitilde{}\textasciicircum{}",
    ]
    assert {cells[0] for number, cells in enumerate(body) if number % 3} == {""}
    assert [cells[1] for cells in body[:3]] == ["full", r"random\_k", "scpo"]
    assert text.count(r"\midrule") == 3
    assert "$" not in text.replace(r"\$", "")


def test_cells_tell_bounds_in_words_and_ranges_with_dashes(rows):
    body = [cells_of(line) for line in latex_table(rows).splitlines() if line.endswith(r" \\")][2:]
    full, random_k, scpo = body[:3]
    assert full[3:] == ["1,000", "reference", "1,000", "reference"]
    assert random_k[5] == "more than 1,000: never reached"
    assert random_k[6].startswith("below 1.00")
    assert re.fullmatch(r"\d+\.\d \\% \(\d+\.\d--\d+\.\d\)", scpo[2])
    trained, labelled = (float(scpo[place].split()[0]) for place in (4, 6))
    assert trained == pytest.approx(2 * labelled, rel=0.05)


def test_every_target_has_a_table(rows, tmp_path):
    write_latex(rows, tmp_path / "curves.tex")
    text = (tmp_path / "curves.tex").read_text(encoding="utf-8")
    assert text.count(r"\begin{tabular}") == 2
    comments = [line for line in text.splitlines() if line.startswith("%")]
    assert comments[0].startswith("% Pairs to the accuracy that full has with the most pairs")
    assert comments[1].startswith("% Pairs to an accuracy of 70.0 %")
    assert all(not line.startswith("%") or "Needs booktabs" in line for line in text.splitlines())


def test_no_rows_make_an_empty_table(tmp_path):
    write_latex([], tmp_path / "curves.tex")
    assert r"\bottomrule" in (tmp_path / "curves.tex").read_text()
    assert "full has" in describe_target([], "full")


def test_the_terminal_prints_names_as_they_stand(rows):
    marked = [row for row in rows if row["country"] == "Côte d'Ivoire"]
    tables = target_tables(marked)
    console = Console(width=200)
    with console.capture() as capture:
        console.print(*tables)
    text = capture.get()
    assert len(tables) == 2
    assert all(heading.split()[0] in text for heading in HEADINGS)
    assert "Côte d'Ivoire" in text
    assert "never reached" in text


def test_an_axis_without_a_curve_is_an_empty_cell(rows):
    labelled = [row for row in rows if row["axis"] == "labelled"]
    body = [cells_of(x) for x in latex_table(labelled).splitlines() if x.endswith(r" \\")][2:]
    assert {(cells[3], cells[4]) for cells in body} == {("", "")}


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a < b > c", r"a \textless{} b \textgreater{} c"),
        ("58.9-69.0", "58.9--69.0"),
        ("-1.5", "-1.5"),
        ("Guinea-Bissau", "Guinea-Bissau"),
    ],
)
def test_escapes(text, latex):
    assert escape_latex(text) == latex
