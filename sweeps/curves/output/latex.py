r"""The summary of the curves as a LaTeX table, `curves.tex`, and as one for the terminal.

In come the rows of `curve_summary`; a line of the table joins an arm's two axes. The LaTeX needs
`\usepackage{booktabs}` and is a plain `tabular`, to be put into a float of the paper's own.
"""

import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from rich.table import Table

from scpo.arrays import Row
from scpo.files.atomic import write_text
from scpo.statistics.bootstrap import Interval
from scpo.statistics.wording import country_title, format_accuracy
from scpo.text.terminal_table import terminal_table
from sweeps.ledger.words import BASELINE

HEADINGS = ("country", "arm", "area", "pairs trained", "ratio", "pairs labelled", "ratio")
_LATEX_SIGNS = str.maketrans(
    {sign: rf"\{sign}" for sign in "&%$#_{}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
    }
)
_RANGE = re.compile(r"(?<=\d)-(?=\d)")


def write_latex(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as LaTeX, a table for each target."""
    tables = [latex_table(rows, target_of) for target_of in _targets(rows)]
    write_text(path, "\n".join(tables))


def latex_table(rows: Sequence[Row], target_of: str = BASELINE) -> str:
    """Return one table: an arm a line, countries apart, pairs to one target on both axes."""
    lines = [
        f"% {describe_target(rows, target_of)} Needs booktabs.",
        r"\begin{tabular}{llrrrrr}",
        r"\toprule",
        r" & & & \multicolumn{2}{c}{pairs trained on} & \multicolumn{2}{c}{pairs labelled} \\",
        r"\cmidrule(lr){4-5} \cmidrule(lr){6-7}",
        r"country & arm & area & to target & ratio & to target & ratio \\",
    ]
    for section in _sections(rows, target_of):
        lines.append(r"\midrule")
        for number, (country, *cells) in enumerate(section):
            shown = ["" if number else country, *cells]
            lines.append(" & ".join(escape_latex(cell) for cell in shown) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def target_tables(rows: Sequence[Row]) -> list[Table]:
    """Return the rows as tables for the terminal, one a target."""
    return [
        terminal_table(describe_target(rows, target_of), HEADINGS, _sections(rows, target_of))
        for target_of in _targets(rows)
    ]


def describe_target(rows: Sequence[Row], target_of: str) -> str:
    """Return what the pairs of a table lead to, in sentences."""
    if target_of == BASELINE:
        target = "the accuracy that full has with the most pairs of its curve"
    else:
        given = next(row["target"] for row in rows if row["target_of"] == target_of)
        target = f"an accuracy of {format_accuracy(given)}"
    return (
        f"Pairs to {target}, on validation users. "
        "Ratio: pairs of full / pairs of the arm, with its 95 % interval."
    )


def escape_latex(text: str) -> str:
    """Return text that LaTeX prints as it stands, hyphens of ranges as dashes."""
    return _RANGE.sub("--", text.translate(_LATEX_SIGNS))


def _targets(rows: Sequence[Row]) -> list[str]:
    """Return the targets of the rows, that of `full` first; it has a table even without rows."""
    return list(dict.fromkeys([BASELINE, *(row["target_of"] for row in rows)]))


def _sections(rows: Sequence[Row], target_of: str) -> list[list[list[str]]]:
    """Return the cells of each line by country, empty for an axis without a curve."""
    lines: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["target_of"] != target_of:
            continue
        area = format_accuracy(
            Interval(row["area"], row["area_low"], row["area_high"], row["users"])
        )
        blank = [country_title(row["country"]), row["arm"], area, *[""] * 4]
        cells = lines.setdefault((row["country"], row["arm"]), blank)
        first = 3 if row["axis"] == "trained" else 5
        cells[first : first + 2] = [row["pairs_words"].replace(" pairs", ""), row["ratio_words"]]
    return [list(section) for _, section in groupby(lines.values(), key=lambda line: line[0])]
